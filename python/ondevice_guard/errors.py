"""Every exception this package raises on purpose.

GuardError
├── InputError (also ValueError)     the caller passed something that is not a usable image or text
│   ├── UnsupportedInput             a kind of object, array or address we do not accept
│   └── UnreadableInput (OSError)    a path or stream that cannot be read
├── ImageError                       the bytes are hostile or damaged; `Guard.check` turns it into a BLOCK verdict
│   ├── MalformedImage               a header or chunk contradicts itself or the decoder refused it
│   ├── UnsupportedFormat            not one of the formats the policy allows
│   └── LimitExceeded                bytes, pixels, side, frames, inflated size or time
├── PolicyError (also ValueError)    an unknown key, a wrong type or an impossible value in a policy
├── ModelError                       a model file is missing, altered or of another version
├── BackendError (also ValueError)   an unknown or unavailable native backend was forced
├── OutputError (also OSError)       a safe copy, a quarantined file or a journal cannot be written
└── GuardBlocked                     raised by `sanitize` and `raise_if_blocked`; carries the verdict
"""

from __future__ import annotations

from typing import Any


class GuardError(Exception):
    """Base of every error raised by ondevice_guard."""


class InputError(GuardError, ValueError):
    """The argument is not a usable image or text; the message names the argument and the remedy."""


class UnsupportedInput(InputError):
    """A type, shape, dtype or address that is not accepted."""


class UnreadableInput(InputError, OSError):
    """A path or stream that does not exist, is a directory, or cannot be read."""


class ImageError(GuardError):
    """Image bytes that must not be decoded or could not be; `kind` is the finding they become."""

    kind = "malformed"


class MalformedImage(ImageError):
    """A length, offset or dimension contradicts the data, or the decoder refused it."""


class UnsupportedFormat(ImageError):
    """The magic number is not on the policy's allow-list."""


class LimitExceeded(ImageError):
    """A limit of the policy (bytes, pixels, side, frames, inflated bytes, seconds) would be exceeded."""


class PolicyError(GuardError, ValueError):
    """A policy has an unknown key, a wrong type or an impossible value."""


class ModelError(GuardError):
    """A model directory is missing a file, its checksum differs, or its config cannot be used."""


class BackendError(GuardError, ValueError):
    """The forced backend does not exist or this machine cannot run it."""


class OutputError(GuardError, OSError):
    """A file of ours cannot be written (full disk, no permission, journal in use)."""


class GuardBlocked(GuardError):
    """The image or text was blocked.

    Attributes:
        verdict: The `Verdict` with the findings and reasons.
    """

    def __init__(self, verdict: Any) -> None:
        super().__init__("; ".join(verdict.reasons) or "blocked")
        self.verdict = verdict

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.verdict,))
