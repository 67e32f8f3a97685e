"""The Gradio app, with REST, streaming and the live demo beside it: `python app.py`, then open the address.

The address comes from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, all else from the `VISAVIS_`
settings of core/settings.py.
"""

import logging
import sys

from core.errors import TalkerError
from core.settings import load_settings
from ui.environment import prepare


def main() -> int:
    """Serve until interrupted -> exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        settings = load_settings()
        prepare(settings)
        from server.application import beside
        from ui.app import serve  # gradio reads its environment when it is imported

        serve(settings, beside)
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # while it was starting; a running server ends by itself
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
