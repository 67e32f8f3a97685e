"""Exit code 0 if a server of Visavis answers /healthz on one of these ports of this machine, else 1.

    python scripts/health.py 8000 7860

The container's health check: api_server.py listens on 8000, app.py on 7860.
"""

import http.client
import sys


def is_up(port: int) -> bool:
    """Whether GET /healthz on 127.0.0.1:`port` is answered with 200 within 3 s."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3.0)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not any(is_up(int(port)) for port in sys.argv[1:]))
