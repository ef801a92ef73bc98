# A node in a container: docs/deploy.md. Built by `docker compose up --build`, or by
#   docker build -t artel .
# BASE_IMAGE may be any image with python3 (3.11 or 3.12), venv and pip.
# TORCH_INDEX is where torch comes from; for NVIDIA, for example
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t artel:cuda .
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# Optional parts of the package: [nait], say.
ARG EXTRAS=
WORKDIR /build
RUN python3 -m venv /opt/artel
# Where no package index can be reached, a folder `wheels` holds everything (docs/deploy.md).
COPY constraints.txt wheels* wheels/
COPY pyproject.toml README.md LICENSE ./
COPY node node
COPY workloads workloads
COPY simulator simulator
RUN set -eu; \
    if ls wheels/*.whl >/dev/null 2>&1; then from="--no-index --find-links wheels"; \
    else from="--extra-index-url ${TORCH_INDEX}"; fi; \
    /opt/artel/bin/pip install --no-cache-dir --disable-pip-version-check $from \
        -c wheels/constraints.txt ".${EXTRAS}" ; \
    /opt/artel/bin/pip uninstall --quiet --yes pip; \
    # Headers and tests of libraries: nothing that a node runs.
    cd /opt/artel/lib/python3*/site-packages; \
    rm -rf torch/include torch/share torch/test caffe2; \
    find . -type d -name tests -prune -exec rm -rf {} +

FROM ${BASE_IMAGE}
ARG ARTEL_UID=1000
RUN useradd --uid ${ARTEL_UID} --user-group --no-create-home --home-dir /data artel \
    && install -d -o artel -g artel -m 700 /data \
    && install -d -o artel -g artel /swarm /out
COPY --from=build /opt/artel /opt/artel
COPY examples /examples
ENV PATH=/opt/artel/bin:$PATH \
    ARTEL_DATA=/data \
    HOME=/tmp \
    MPLCONFIGDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER artel
# The key and what the node signed: without the volume a new container is a new node.
VOLUME /data
EXPOSE 31330/tcp 31330/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["artel", "health"]
ENTRYPOINT ["artel"]
CMD ["node", "run", "--listen", "/ip4/0.0.0.0/tcp/31330"]
