"""Where files lie and what is allowed: environment variables with the prefix `VISAVIS_`, read once."""

from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import BadOption


class Settings(BaseSettings):
    """All settings; each is the environment variable `VISAVIS_` + its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="VISAVIS_", frozen=True, extra="ignore")

    home: Path = Field(Path("~/.cache/visavis"), description="avatars, results and uploads")
    engine: str = Field("auto", description="engine the doors start with")
    cache_gib: float = Field(4.0, gt=0, description="size limit of the avatar cache")
    avatar_days: float = Field(30.0, gt=0, description="avatars unused for so long expire")
    result_hours: float = Field(24.0, gt=0, description="results on the page's side are kept so long")
    max_image_mib: float = Field(30.0, gt=0, description="largest portrait file")
    max_image_mpx: float = Field(80.0, gt=0, description="most pixels of a portrait")
    max_audio_mib: float = Field(200.0, gt=0, description="largest sound file")
    max_audio_s: float = Field(7200.0, gt=0, description="longest speech")
    max_video_mib: float = Field(500.0, gt=0, description="largest source video")
    max_video_s: float = Field(60.0, gt=0, description="longest source video")
    max_queue: int = Field(8, ge=1, description="waiting requests on the page before new ones are refused")

    @property
    def home_dir(self) -> Path:
        return self.home.expanduser()


def load_settings() -> Settings:
    """The settings of this process. Raises BadOption, naming the variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "VISAVIS_" + str(first["loc"][0]).upper()
        raise BadOption(f"{name}: {first['msg']}.", "Correct or unset this environment variable.") from error
