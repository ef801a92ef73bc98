"""RAC as a job of a swarm: parameters are trained by rounds, and the memory is everybody's."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workloads.api import (
    Advance,
    Clock,
    Entries,
    FloatVector,
    MemoryForm,
    TrainResult,
    WorkloadError,
    step_rng,
)
from workloads.rac import network, pictures
from workloads.rac.catalogue import Catalogue, no_entries
from workloads.rac.config import RacConfig
from workloads.rac.datasets import Part, Pictures
from workloads.rac.encoders import PictureEncoder, TextEncoder, picture_encoder, text_encoder
from workloads.rac.examples import Examples, augmented
from workloads.rac.features import BLOCK_PICTURES, FeatureCache, cache_folder
from workloads.rac.inquiry import Inquiry, make_memory
from workloads.rac.job_data import JobData
from workloads.rac.longtail import Labels
from workloads.rac.loss import adjustment
from workloads.rac.measuring import Answers, measure
from workloads.rac.objective import Batch, objective
from workloads.rac.shared_examples import shared_examples
from workloads.rac.snippets import class_texts
from workloads.replica import Replica, resolve_device, split
from workloads.steps import check_params, cosine, local_steps

EVALUATED_PER_PASS = 256


class RacWorkload:
    """Classifies pictures with a network and a shared memory; see ``workloads.api``.

    Implements ``Workload``, ``Remembers``, ``Inquires`` and ``Sharded``. What peers send is
    checked; an entry that no honest node makes is dropped and counted.
    """

    def __init__(self, config: Mapping[str, Any], seed: int, device: str = "cpu") -> None:
        """Check the config, load data and encoders, make a replica of the initial parameters.

        Raises:
            WorkloadError: The config, the seed, the data or the device cannot work, or the extra
                ``rac`` is missing.
        """
        if seed < 0:
            raise WorkloadError(f"seed {seed} is negative: choose one that is at least 0")
        self.config = RacConfig.parse(config)
        """The settings, with those left out."""
        self._seed = seed
        self._device = resolve_device(self.config.device or device)
        self._data = JobData(self.config)
        self._classes = len(self._data.classes)
        self._encoder: PictureEncoder | None = None
        text: tuple[int, TextEncoder] | None = None
        if self.config.branches != "base":
            side = self.config.resolution
            self._encoder = picture_encoder(self.config.encoder, side, self._device)
            text = text_encoder(self.config.text) if self.config.vote == "text" else None
        self._catalogue, self.inquiry = self._make_memory(text)
        self._form = network.Form(
            self.config, self._classes, self._data.channels, text[0] if text else None
        )
        self._shapes = network.compute_shapes(self._form)
        self._replica = Replica(self._shapes, self._device)
        self._replica.write(self.initial())
        self._shared = shared_examples(self.config, self._catalogue, self._classes, self._device)
        self._shard = (0, 1)
        self._own: Examples | None = None
        self._test: Examples | None = None
        self._rng = np.random.default_rng(seed)
        self._sent = 0
        self._regained = 0

    def _make_memory(
        self, text: tuple[int, TextEncoder] | None
    ) -> tuple[Catalogue | None, Inquiry | None]:
        if self._encoder is None:
            return None, None
        texts = class_texts(self._data.classes, self.config.texts)
        encode, dimensions = text[1] if text else None, self._encoder.dimensions
        return make_memory(self.config, texts, dimensions, encode, lambda: (self.own, self.test))

    # Data --------------------------------------------------------------------------------------

    def shard(self, index: int, count: int) -> None:
        """Train on part ``index`` of ``count``.

        Raises:
            WorkloadError: There is no such part, or nothing in it.
        """
        if not 0 <= index < count or self._own is not None:
            raise WorkloadError(f"part {index} of {count} cannot be taken now")
        self._shard = (index, count)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Training examples of each class, of all nodes. Shape [C]."""
        return self._data.counts

    @property
    def own(self) -> Examples:
        """This node's training examples."""
        if self._own is None:
            config = self.config
            self._own = self._examples(self._data.shard(*self._shard), own=True)
            counts = self._data.counts
            if config.prior == "own":
                counts = np.bincount(self._own.labels, minlength=self._classes)
            self._offsets = adjustment(counts, config.tau).to(self._device)
        return self._own

    @property
    def test(self) -> Examples:
        """The test examples, the same on all nodes."""
        if self._test is None:
            self._test = self._examples(self._data.test(), own=False)
        return self._test

    def _examples(self, part: Part, *, own: bool) -> Examples:
        cache = None
        if self._encoder is not None:
            cache = FeatureCache(self._encoder, cache_folder(os.environ))
        index, count = self._shard
        blocks = -(-len(part.labels) // BLOCK_PICTURES)
        return Examples(
            part,
            self.config,
            self._device,
            self._catalogue,
            cache,
            first_block=0 if own else index * blocks // count,
            own=own,
            classes=self._classes,
        )

    # Parameters --------------------------------------------------------------------------------

    @property
    def shapes(self) -> Sequence[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the parameters, in flat-vector order."""
        return self._shapes

    def initial(self) -> FloatVector:
        """The first parameters. Shape [d]."""
        return network.initial(self._form, self._seed)

    def reset(self) -> None:
        """Forget Adam's state."""
        self._replica.reset()

    def train(
        self,
        params: FloatVector,
        *,
        round_: int,
        rounds: int,
        data_seed: bytes,
        steps: int,
        deadline_s: float,
        continued: bool,
        clock: Clock,
    ) -> TrainResult:
        """Local Adam steps; see ``workloads.api.Workload.train``.

        What a step sees also depends on the entries that have arrived by then.

        Raises:
            WorkloadError: ``params`` has another shape, or a number is out of range.
        """
        check_params(params, self._shapes)
        if not self.own.known:
            self.own.encode()
        if self._shared is not None:
            self._shared.refresh(self._rng)
        config = self.config
        return local_steps(
            self._replica,
            params,
            loss_of=lambda step: self._step_loss(step_rng(data_seed, step)),
            learning_rate=lambda position: cosine(config.lr, config.lr_end_ratio, position),
            round_=round_,
            rounds=rounds,
            steps=steps,
            deadline_s=deadline_s,
            continued=continued,
            clock=clock,
        )

    def _step_loss(self, rng: np.random.Generator) -> Tensor:
        config, own = self.config, self.own
        if self._catalogue is not None and self._catalogue.outgrown:
            self._catalogue.judge(self._rng)
        rows = rng.integers(own.known, size=config.batch)
        seen = augmented(own.pictures[torch.from_numpy(rows)], config.shift, config.flip, rng)
        batch = Batch(seen, own.looked(rows), own.targets[torch.from_numpy(rows)], self._offsets)
        lesson = self._shared.draw(config.batch, rng) if self._shared is not None else None
        return objective(self._form, self._named(), batch, lesson)

    def _named(self, params: FloatVector | None = None) -> dict[str, Tensor]:
        tensors = self._replica.tensors
        if params is not None:
            tensors = split(torch.from_numpy(np.array(params)).to(self._device), self._shapes)
        return {name: tensor for (name, _), tensor in zip(self._shapes, tensors, strict=True)}

    # What it is worth --------------------------------------------------------------------------

    def answers(self, params: FloatVector) -> Answers:
        """What each branch says of the test examples."""
        check_params(params, self._shapes)
        test, named = self.test, self._named(params)
        while not test.complete:
            test.encode()
        if self._catalogue is not None:
            self._catalogue.judge(self._rng)
        passes = []
        with torch.no_grad():
            for rows in np.array_split(np.arange(len(test)), -(-len(test) // EVALUATED_PER_PASS)):
                seen = test.pictures[torch.from_numpy(rows)].float()
                passes.append(network.forward(self._form, named, seen, test.looked(rows)))
        found = test.found(np.arange(len(test))) if self._catalogue is not None else None
        return Answers.joined(passes, found, test.labels)

    def evaluate(self, params: FloatVector) -> dict[str, float]:
        """Accuracies in [0, 1], overall, by branch and by shot; what the memory is like."""
        config = self.config
        found = measure(self.answers(params), self._data.counts, config.many, config.few)
        for name in ("base.scale", "retrieval.scale"):
            if name in (named := self._named(params)):
                found[name.replace(".", "_")] = float(named[name])
        if self._catalogue is not None:
            found["entries_dropped"] = float(self._catalogue.dropped)
            trusts = [self._catalogue.trust(name) for name in self._catalogue.authors]
            found["trust_min"] = min(trusts, default=1.0)
            found["index_bytes"] = float(self._catalogue.memory.bytes)
        if self.inquiry is not None:
            found["answered"] = self.test.answered
        return found

    def artifacts(self, params: FloatVector, folder: Path) -> list[Path]:
        """``confusion.png``, ``classes.png``, and with a memory ``neighbours.png``."""
        answers = self.answers(params)
        scene = pictures.Scene(
            self._data.classes, self._data.counts, (self.config.many, self.config.few)
        )
        shown = self.test.pictures.cpu().permute(0, 2, 3, 1).numpy()
        authors = self._catalogue.authors if self._catalogue is not None else {}
        return pictures.write(answers, scene, shown, authors, folder)

    # Memory ------------------------------------------------------------------------------------

    @property
    def memory(self) -> MemoryForm:
        """Directions of E's features; the label is the value, its snippet the payload."""
        dimensions = self._encoder.dimensions if self._encoder is not None else 1
        config = self.config
        size, most = config.payload_bytes, config.author_entries
        return MemoryForm(dimensions, config.keys, size, most, self.inquiry is not None)

    def start(self, data_seed: bytes) -> None:
        """Draw from this seed on which entries others are judged; nobody knows it."""
        self._rng = np.random.default_rng(list(data_seed))

    def advance(self, steps_max: int, deadline_s: float, clock: Clock) -> Advance:
        """Encode one block of pictures: own ones, which become entries, then those for testing."""
        for examples in (self.own, self.test):
            if not examples.complete:
                examples.encode()
                return Advance(1, self._unsent())
        return Advance(0, self._unsent(), waiting=not self.own.outbox)

    def _unsent(self) -> Entries:
        """The oldest entries that have not left, less those that left in an earlier life."""
        if not self.own.outbox:
            return no_entries(self.memory)
        entries = self.own.outbox.popleft()
        start = min(max(0, self._regained - self._sent), len(entries))
        self._sent += len(entries)
        return entries.part(start, len(entries))

    def absorb(self, author: str, entries: Entries) -> None:
        """Remember another node's entries; of own ones only note how many have left before."""
        if not author:
            self._regained += len(entries)
        elif self._catalogue is not None:
            self._catalogue.add(author, entries)

    def forget(self, author: str) -> None:
        """Drop all that ``author`` ever said."""
        if self._catalogue is not None:
            self._catalogue.remove(author)

    def pack(self, pictures: Pictures, labels: Labels) -> Entries:
        """Any labelled pictures of the data's kind as entries of the memory.

        Args:
            pictures: Shape [n, h, w, c].
            labels: Shape [n].

        Raises:
            WorkloadError: The job has no retrieval branch.
        """
        if self._catalogue is None or self._encoder is None:
            raise WorkloadError('branches = "base" has no memory')
        return self._catalogue.pack(self._encoder.encode(pictures), labels)
