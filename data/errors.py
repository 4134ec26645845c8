"""The exceptions a user of Spiketune meets, as one tree.

SpiketuneError
├── InputError              what was given is wrong: exit code 2
│   ├── ConfigError         a configuration or a search specification
│   ├── RecordingError      a file of events or boxes
│   └── DatasetError        an ingested dataset, a shard or a checkpoint
└── TrainingError           training cannot go on: exit code 1
    └── Diverged            its numbers are no longer finite
"""


class SpiketuneError(Exception):
    """Anything Spiketune reports to its user; the message names what, where, the rule and the remedy."""


class InputError(SpiketuneError):
    """What the user gave is wrong, and the user can mend it."""


class ConfigError(InputError):
    """A configuration or a search specification breaks a rule."""


class RecordingError(InputError):
    """A file of events or boxes cannot be read as what it claims to be."""


class DatasetError(InputError):
    """An ingested dataset, one of its shards, or a checkpoint is missing, damaged or does not fit."""


class TrainingError(SpiketuneError):
    """Training cannot go on, for a reason that is not the user's input."""


class Diverged(TrainingError):  # noqa: N818 - the name of what became of a trial
    """Step after step had a loss or a gradient that is not finite; `term` tells which."""

    def __init__(self, message: str, term: str) -> None:
        super().__init__(message, term)
        self.term = term

    def __str__(self) -> str:
        return str(self.args[0])
