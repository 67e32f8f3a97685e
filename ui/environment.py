"""What must be set before gradio is imported: where it keeps files, and that it calls nobody."""

import os
import shutil
import time
from pathlib import Path

from core.settings import Settings


def uploads_of(settings: Settings) -> Path:
    """The folder of everything that browsers and clients send; it belongs to this user alone."""
    return settings.home_dir / "uploads"


def prepare(settings: Settings) -> None:
    """Set gradio's environment and make the upload folder; call before the first `import gradio`."""
    uploads = uploads_of(settings)
    uploads.mkdir(mode=0o700, parents=True, exist_ok=True)
    uploads.chmod(0o700)
    _sweep(uploads, settings.result_hours * 3600)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def _sweep(folder: Path, age_s: float) -> None:
    """Remove what an earlier process left: gradio forgets its files when it is killed."""
    for entry in folder.iterdir():
        if time.time() - entry.lstat().st_mtime > age_s:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
