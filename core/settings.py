"""Where files lie and what is allowed: environment variables with the prefix `VISAVIS_`, read once."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import BadOption


class Settings(BaseSettings):
    """All settings; each is the environment variable `VISAVIS_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="VISAVIS_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    home: Path = Field(Path("~/.cache/visavis"), description="avatars, results and uploads")
    engine: str = Field("auto", description="engine the doors start with")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where Ditto runs: auto, cpu or cuda")
    precision: Literal["fp32", "fp16", "bf16"] = Field(
        "fp32", description="of Ditto's PyTorch networks; half the numbers' size on a GPU, not equal any more"
    )
    models: Path | None = Field(
        None, description="folder of Ditto's checkpoints (none: `./checkpoints`, or the Hugging Face cache)"
    )
    download: Literal["auto", "ask", "never"] = Field(
        "auto", description="missing checkpoints are fetched when needed, on request only (ask), or never"
    )
    license_profile: Literal["research", "commercial"] = Field(
        "research", description="commercial leaves out the face models for research alone"
    )
    cache_gib: float = Field(8.0, gt=0, description="size limit of the avatar cache")
    avatar_days: float = Field(30.0, gt=0, description="avatars unused for so long expire")
    result_hours: float = Field(24.0, gt=0, description="results on the page's side are kept so long")
    result_gib: float = Field(4.0, gt=0, description="size limit of those results; the oldest go first")
    max_image_mib: float = Field(30.0, gt=0, description="largest portrait file")
    max_image_mpx: float = Field(80.0, gt=0, description="most pixels of a portrait")
    max_audio_mib: float = Field(200.0, gt=0, description="largest sound file")
    max_audio_s: float = Field(7200.0, gt=0, description="longest speech")
    max_video_mib: float = Field(500.0, gt=0, description="largest source video")
    max_video_s: float = Field(60.0, gt=0, description="longest source video")
    max_queue: int = Field(
        8, ge=1, description="waiting requests, on the page and of REST each, before new ones are refused"
    )
    api_keys: str = Field(
        "", description="keys for the servers' API, with commas between them (none: open to all)", repr=False
    )
    rate_per_minute: int = Field(
        120, ge=1, description="uploads, registrations and clips in a minute by one key, or address"
    )
    cors_origins: str = Field(
        "", description="other origins whose pages may use the API, with commas between them (none: no other)"
    )
    max_sessions: int = Field(4, ge=1, description="live sessions at a time; more are refused")
    session_idle_s: float = Field(
        60.0, gt=0, description="a live session that hears nothing so long is ended"
    )
    upload_hours: float = Field(2.0, gt=0, description="files uploaded to the servers are kept so long")
    upload_gib: float = Field(4.0, gt=0, description="size limit of those files; the oldest go first")
    media: Path | None = Field(
        None, description="folder whose files clients may name by path (none: no folder)"
    )

    @property
    def home_dir(self) -> Path:
        return self.home.expanduser()

    @property
    def keys(self) -> tuple[str, ...]:
        """The API keys; none where the API is open."""
        return _listed(self.api_keys)

    @property
    def origins(self) -> tuple[str, ...]:
        """Origins of other pages that may use the API."""
        return _listed(self.cors_origins)

    @property
    def models_dir(self) -> Path | None:
        return self.models.expanduser() if self.models else None


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load_settings() -> Settings:
    """The settings of this process. Raises BadOption, naming the variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "VISAVIS_" + str(first["loc"][0]).upper()
        raise BadOption(f"{name}: {first['msg']}.", "Correct or unset this environment variable.") from error
