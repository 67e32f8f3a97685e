"""A small picture of loudness against mouth opening, drawn as SVG: it needs no library in the browser."""

import html

import numpy as np

from ui.texts import say

_WIDTH, _HEIGHT, _POINTS = 600, 96, 240

# The line follows the video, and a click on the plot seeks: the video is a neighbour on the same page.
FOLLOW = """
const video = () => document.querySelector('#vv-video video');
document.addEventListener('timeupdate', (event) => {
  const head = element.querySelector('.vv-now');
  if (head && event.target === video() && event.target.duration)
    head.style.transform = `translateX(${100 * event.target.currentTime / event.target.duration}%)`;
}, true);
element.addEventListener('click', (event) => {
  const plot = event.target.closest('.vv-curves');
  if (!plot || !video()?.duration) return;
  const box = plot.getBoundingClientRect();
  video().currentTime = video().duration * (event.clientX - box.left) / box.width;
});
"""


def plot(loudness: list[float], opening: list[float], language: str) -> str:
    """Curves of a clip (one value a frame) -> HTML: loudness (RMS) as an area, the mouth (0..1) as a line."""
    sound = _curve(loudness, max([0.05, *loudness]))
    mouth = _curve(opening, max([0.4, *opening]))
    loud, open_ = (html.escape(say(language, f"plot.{name}")) for name in ("loudness", "opening"))
    return (
        f'<figure class="vv-plot"><div class="vv-curves">'
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{loud}, {open_}">'
        f'<path class="vv-loud" d="M0 {_HEIGHT} L{sound} L{_WIDTH} {_HEIGHT} Z"/>'
        f'<polyline class="vv-open" points="{mouth}"/></svg><span class="vv-now"></span></div>'
        f'<figcaption><span class="vv-key vv-key-loud">{loud}</span>'
        f'<span class="vv-key vv-key-open">{open_}</span></figcaption></figure>'
    )


def _curve(values: list[float], top: float) -> str:
    """Points "x,y x,y ..." of a curve over the whole width; long clips are drawn by their peaks."""
    heights = np.asarray(values or [0.0]) / top
    if len(heights) > _POINTS:
        heights = np.array([part.max() for part in np.array_split(heights, _POINTS)])
    across = np.linspace(0, _WIDTH, max(len(heights), 2))
    down = _HEIGHT - (_HEIGHT - 6) * np.resize(heights, len(across))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
