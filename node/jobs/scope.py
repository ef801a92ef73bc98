"""A task group that can be ended from inside, in the order in which its tasks were made."""

import asyncio
from collections.abc import Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")


class Scope(asyncio.TaskGroup):
    """``asyncio.TaskGroup`` with ``cancel_all``; its order is that of creation, so runs replay."""

    def __init__(self) -> None:
        super().__init__()
        self._ordered: dict[asyncio.Task[Any], None] = {}

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """As in TaskGroup."""
        task = super().create_task(coro, name=name, context=context)
        self._ordered[task] = None
        return task

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._ordered.pop(task, None)  # here, and not in a second callback of every task
        super()._on_task_done(task)

    def cancel_all(self) -> None:
        """Cancel what still runs; the group then ends without an error."""
        for task in list(self._ordered):
            task.cancel()


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error behind the groups of nested scopes: the one to show."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
