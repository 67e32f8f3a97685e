"""REST, live streaming and the browser demo in one server: `python api_server.py`, then open its address.

All but the address comes from the `VISAVIS_` settings of core/settings.py.
"""

import argparse
import logging
import sys

from core.errors import TalkerError
from core.settings import load_settings


def main() -> int:
    """Serve until interrupted -> exit code."""
    parser = argparse.ArgumentParser(description="REST, live streaming and the browser demo.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0 for all")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = load_settings()
        from server.application import ALL  # heavy, so not before the flags and settings are right
        from server.serving import serve

        serve(settings, given.host, given.port, ALL)
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # while it was starting
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
