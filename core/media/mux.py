"""A silent video and a sound become one file: the pictures are copied, not coded again."""

from pathlib import Path

from core.errors import BadImage
from core.media.container import open_input
from core.media.mp4 import Mp4
from core.types import FPS


def add_sound(video: Path, sound: Path, output: Path) -> None:
    """Write the pictures of `video`, an MP4 of 25 frames a second, with `sound` as AAC to `output`, an MP4.

    The sound is cut, or filled with silence, to the length of the pictures. Raises BadOption, BadPath,
    BadImage, BadAudio, EncodeFailed; then there is no output.
    """
    with open_input(video, BadImage) as source:
        if not source.streams.video:
            raise BadImage(f"'{video.name}' has no pictures.")
        pictures = source.streams.video[0]
        made = Mp4(output, sound, {})
        try:
            with made.translated():
                copied = made.container.add_stream_from_template(pictures)
                made.start_sound()
                count = 0
                for packet in source.demux(pictures):
                    if packet.dts is None:  # the end, which is no picture
                        continue
                    packet.stream = copied
                    made.container.mux(packet)
                    count += 1
                    made.sound_until(count, FPS)
                made.finish()
        finally:
            made.abort()
