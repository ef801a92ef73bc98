"""A job's ``[workload]`` table as a frozen model, and its problems as sentences."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from workloads.api import WorkloadError


class WorkloadSettings(BaseModel):
    """Base of the settings of one workload. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    workload: ClassVar[str]
    """Its name, for errors."""

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> Self:
        """Check a table.

        Raises:
            WorkloadError: One sentence for each thing to change.
        """
        try:
            return cls.model_validate(dict(config))
        except ValidationError as error:
            problems = [cls._sentence(dict(item)) for item in error.errors(include_url=False)]
            raise WorkloadError(f"workload {cls.workload}: {'; '.join(problems)}") from None

    @classmethod
    def _sentence(cls, problem: dict[str, Any]) -> str:
        """The key, what was given, what is allowed."""
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            return f"unknown key {key}: remove it (known: {', '.join(cls.model_fields)})"
        if problem["type"] == "missing":
            return f"{key} is missing: add it"
        if not key:
            return str(problem["msg"]).removeprefix("Value error, ")
        return f"{key} = {problem['input']!r}: {problem['msg']}"
