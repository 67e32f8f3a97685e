"""What all routes of one application share."""

from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

from core.settings import Settings
from core.studio import Studio
from server.admission import Admission, Rates
from server.metrics import Metrics
from server.uploads import Uploads
from server.worker import Worker


@dataclass
class House:
    """One per application. The studio is its maker's to close; `close` ends all else."""

    studio: Studio
    settings: Settings
    uploads: Uploads
    admission: Admission
    metrics: Metrics
    worker: Worker = field(init=False)
    rates: Rates = field(init=False)

    def __post_init__(self) -> None:
        self.worker = Worker(self.settings.max_queue)
        self.rates = Rates(self.settings.rate_per_minute)
        avatars = self.studio.avatars
        self.metrics.watch(
            lambda: self.admission.active,
            lambda: self.worker.open,
            lambda: avatars.found,
            lambda: avatars.made,
        )

    def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        self.worker.close()


def house_of(connection: HTTPConnection) -> House:
    """The house behind a request or WebSocket."""
    house: House = connection.app.state.house
    return house
