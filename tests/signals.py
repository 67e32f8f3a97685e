"""Programs that the tests start must hear the signals that the tests send."""

import signal


def heeded() -> None:
    """For preexec_fn: what started the tests (a shell's background, nohup) may have switched signals off."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)
