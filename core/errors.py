"""Every error that a user of Visavis can meet.

    TalkerError
    ├── InputError            what was handed in cannot be used
    │   ├── NoFace            no usable face in the portrait
    │   ├── BadImage          not an image or video that can be decoded
    │   ├── BadAudio          not audio that can be decoded
    │   ├── BadOption         unknown option, wrong type or out of range
    │   ├── TooLong           over a limit: bytes, pixels or seconds
    │   ├── UnknownToken      no such avatar (never made, expired or evicted)
    │   ├── UnknownJob        no such job (never made or expired)
    │   ├── NotDone           the job has no result, yet or at all
    │   ├── NotYours          the avatar or job belongs to another owner
    │   ├── BadPath           missing file, or a path that may not be used
    │   ├── BadRequest        not a request that this server understands
    │   └── Unauthorized      no API key, or a wrong one, where the server asks for one
    ├── AssetError            something the program itself needs is missing
    │   ├── MissingCheckpoint
    │   ├── CorruptCheckpoint
    │   └── EngineUnavailable
    ├── Busy                  too much is waiting already
    │   └── RateLimited       too many requests in a minute
    ├── ComputeError          the work itself failed
    │   ├── OutOfMemory
    │   ├── EncodeFailed      the output could not be written (disk full, ...)
    │   └── StoreFailed       avatars or results cannot be kept (disk full, ...)
    └── Cancelled             the caller asked to stop

The message says what is wrong; `hint` says what to do about it. Foreign exceptions are translated
at the seams (media, runtimes, hub), so the doors only ever catch `TalkerError`.
"""


def one_line(text: str) -> str:
    """Text that a terminal or a log takes as one line: file names and option values may hold anything."""
    return " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in text).split())


class TalkerError(Exception):
    """Base of all errors; `str()` is one line: the message, then the hint."""

    code = "error"
    exit_code = 1
    http_status = 500

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = one_line(message), one_line(hint)
        super().__init__(f"{self.message} {self.hint}".strip())


class InputError(TalkerError):
    code, exit_code, http_status = "bad_input", 2, 422


class NoFace(InputError):
    code = "no_face"


class BadImage(InputError):
    code = "bad_image"


class BadAudio(InputError):
    code = "bad_audio"


class BadOption(InputError):
    code = "bad_option"


class TooLong(InputError):
    code, http_status = "too_long", 413


class UnknownToken(InputError):
    code, http_status = "unknown_token", 404


class UnknownJob(InputError):
    code, http_status = "unknown_job", 404


class NotDone(InputError):
    code, http_status = "not_done", 409


class NotYours(InputError):
    code, http_status = "not_yours", 403


class BadPath(InputError):
    code, http_status = "bad_path", 400


class BadRequest(InputError):
    code, http_status = "bad_request", 422


class Unauthorized(InputError):
    code, http_status = "unauthorized", 401


class AssetError(TalkerError):
    code, exit_code, http_status = "asset", 3, 503


class MissingCheckpoint(AssetError):
    code = "missing_checkpoint"


class CorruptCheckpoint(AssetError):
    code = "corrupt_checkpoint"


class EngineUnavailable(AssetError):
    code = "engine_unavailable"


class Busy(TalkerError):
    code, exit_code, http_status = "busy", 5, 503

    # `retry_after_s`: seconds after which another try makes sense
    def __init__(self, message: str, hint: str = "", retry_after_s: float = 5.0) -> None:
        super().__init__(message, hint)
        self.retry_after_s = retry_after_s


class RateLimited(Busy):
    code, http_status = "rate_limited", 429


class ComputeError(TalkerError):
    code, exit_code, http_status = "compute", 4, 500


class OutOfMemory(ComputeError):
    code, http_status = "out_of_memory", 507


class EncodeFailed(ComputeError):
    code, exit_code, http_status = "encode", 2, 507


class StoreFailed(ComputeError):
    code, http_status = "store", 507


class Cancelled(TalkerError):
    code, exit_code, http_status = "cancelled", 130, 499
