"""The environment that a config names."""

from workloads.nait.atari import AtariGame
from workloads.nait.config import NaitConfig
from workloads.nait.environment import PREFIX, Environment, GymnasiumEnvironment


def make_environment(config: NaitConfig) -> Environment:
    """An Atari game, or a gymnasium environment after ``gymnasium:``.

    Raises:
        WorkloadError: There is none of that name, or its package is missing.
    """
    name = config.environment
    if name.startswith(PREFIX):
        return GymnasiumEnvironment(name.removeprefix(PREFIX), config.coefficients, config.unit)
    return AtariGame(name, config.protocol, config.coefficients, config.unit, config.fire)
