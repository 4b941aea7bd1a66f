"""How frames are turned, and what is said of what reading leaves out or takes as it is."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from films import write_video
from softmine.errors import SoftmineError
from softmine.signals import Video
from softmine.signals.video.orientation import is_askew, turn

ORIENTATIONS = [
    [[1, 0], [0, 1]],
    [[-1, 0], [0, 1]],
    [[1, 0], [0, -1]],
    [[-1, 0], [0, -1]],
    [[0, 1], [1, 0]],
    [[0, 1], [-1, 0]],
    [[0, -1], [1, 0]],
    [[0, -1], [-1, 0]],
]


def scene(frames=4, height=48, width=64):
    """Frames without any symmetry, whose colors survive lossy compression."""
    clip = np.zeros((frames, height, width, 3), np.uint8)
    clip[..., 0] = np.linspace(30, 220, width)
    clip[..., 1] = np.linspace(220, 30, height)[:, None]
    clip[:, : height // 3, : width // 4, 2] = 200
    return clip


def displayed(frame, matrix):
    """Each pixel where the matrix sends it, one by one."""
    height, width = frame.shape[:2]
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    column, row = (np.stack([x, y], -1) @ np.array(matrix)).T
    column, row = column - column.min(), row - row.min()
    out = np.zeros((row.max() + 1, column.max() + 1, 3), frame.dtype)
    out[row, column] = frame[y, x]
    return out


def with_matrix(path, matrix):
    """Writes a matrix into the track's header of an MP4 file."""
    content = path.read_bytes()
    start = content.index(b"tkhd") + 44
    (a, b), (c, d) = (np.array(matrix) * 65536).astype(int)
    placed = np.array([a, b, 0, c, d, 0, 64 << 16, 48 << 16, 1 << 30], ">i4").tobytes()
    path.write_bytes(content[:start] + placed + content[start + 36 :])


@pytest.mark.parametrize("matrix", ORIENTATIONS, ids=str)
def test_all_eight_orientations_are_as_players_show_them(tmp_path, matrix):
    path = write_video(tmp_path / "film.mp4", scene())
    plain = Video.read(path)
    with_matrix(path, matrix)
    turned = Video.read(path)
    for index in range(4):
        np.testing.assert_array_equal(turned.frame(index), displayed(plain.frame(index), matrix))
    moved = matrix != [[1, 0], [0, 1]]
    assert turned.notes == (["turned or mirrored, as its display matrix says"] if moved else [])
    small = Video.read(path, 2)
    assert small.shape[1:3] == tuple(size // 2 for size in turned.shape[1:3])


@pytest.mark.parametrize(
    ("matrix", "nearest"),
    [([[0.9, 0.4], [-0.4, 0.9]], 0), ([[0.3, -0.95], [-0.95, -0.3]], 7), ([[2, 0], [0, -1]], 2)],
)
def test_what_is_no_quarter_turn_is_said(tmp_path, matrix, nearest):
    path = write_video(tmp_path / "film.mp4", scene())
    plain = Video.read(path).frame(0)
    with_matrix(path, matrix)
    turned = Video.read(path)
    np.testing.assert_array_equal(turned.frame(0), displayed(plain, ORIENTATIONS[nearest]))
    assert "another turn or stretch than quarter turns and mirrors" in turned.notes[-1]


def test_a_matrix_of_zeros_asks_for_nothing():
    frame, none = scene()[0], np.zeros((2, 2))
    assert turn(frame, none) is not None
    np.testing.assert_array_equal(turn(frame, none), frame)
    assert not is_askew(none)


def encode(path, arrays, pixels, codec="ffv1", times=None, rate=10, **traits):
    """Writes frames, each an array of a pixel format, with traits of the encoder's."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = *arrays[0].shape[:2], pixels
        context = stream.codec_context
        context.time_base = Fraction(1, 1000)
        for name, value in traits.items():
            setattr(context, name, value)
        for index, array in enumerate(arrays):
            frame = av.VideoFrame.from_ndarray(array, format="rgba" if array.shape[2] == 4 else "rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts = times[index] if times else index * 1000 // rate
            frame.time_base = Fraction(1, 1000)
            for name in ("color_trc", "color_primaries"):
                if name in traits:
                    setattr(frame, name, traits[name])
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


def test_an_ordinary_film_needs_no_words(tmp_path):
    for name, codec in (
        ("a.mp4", "libx264"),
        ("a.mkv", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.webm", "libvpx-vp9"),
    ):
        for rate in (Fraction(24000, 1001), Fraction(25), Fraction(60)):
            assert Video.read(write_video(tmp_path / name, scene(12), codec=codec, rate=rate)).notes == []


@pytest.mark.parametrize(
    ("traits", "pixels", "words"),
    [
        ({}, "yuv444p10le", ["10 bits a channel rounded to 8"]),
        ({"color_trc": 16, "color_primaries": 9}, "yuv444p",
         ["brightness is coded as PQ, high dynamic range, and taken as it is, without tone mapping",
          "colors are of the primaries of BT.2020, and taken as they are"]),
        ({"color_trc": 18}, "yuv444p",
         ["brightness is coded as HLG, high dynamic range, and taken as it is, without tone mapping"]),
        ({"color_trc": 1, "color_primaries": 1}, "yuv444p", []),
    ],
)  # fmt: skip
def test_traits_that_are_not_followed_are_said(tmp_path, traits, pixels, words):
    video = Video.read(encode(tmp_path / "film.mkv", list(scene()), pixels, **traits))
    assert video.notes == words
    assert np.abs(video.frame(0).astype(int) - scene()[0]).mean() < 3


def test_pixels_that_are_not_square_are_said(tmp_path):
    path = encode(
        tmp_path / "film.mp4", list(scene()), "yuv444p", "libx264", sample_aspect_ratio=Fraction(16, 11)
    )
    video = Video.read(path)
    assert video.shape == (4, 48, 64, 3)
    assert video.notes == ["its pixels are not square (16:11 as stored), and taken as if they were"]


@pytest.mark.parametrize("pixels", ["rgba", "bgra", "yuva444p"])
def test_alpha_is_said_to_be_left_out_where_there_is_some(tmp_path, pixels):
    clip = scene()
    opaque = np.concatenate([clip, np.full((*clip.shape[:3], 1), 255, np.uint8)], -1)
    codec, ending = ("png", "mov") if pixels == "rgba" else ("ffv1", "mkv")
    solid = Video.read(encode(tmp_path / f"solid.{ending}", list(opaque), pixels, codec))
    assert solid.notes == []
    opaque[2, 5:9, 5:9, 3] = 100
    seen = Video.read(encode(tmp_path / f"hole.{ending}", list(opaque), pixels, codec))
    assert seen.notes == ["its alpha left out: colors are those behind it"]
    for index in range(4):
        np.testing.assert_array_equal(seen.frame(index), solid.frame(index))
        assert np.abs(seen.frame(index).astype(int) - clip[index]).mean() < 3


def test_alpha_that_webm_keeps_apart_is_said(tmp_path):
    clip = scene()
    pixels = np.concatenate([clip, np.full((*clip.shape[:3], 1), 90, np.uint8)], -1)
    with av.open(str(tmp_path / "film.webm"), "w") as file:
        stream = file.add_stream("libvpx-vp9", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for each in pixels:
            frame = av.VideoFrame.from_ndarray(each, format="rgba").reformat(format="yuva420p")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    assert Video.read(tmp_path / "film.webm").notes == ["its alpha, which is stored apart, left out"]


def test_frames_at_uneven_times_are_said(tmp_path):
    even = encode(tmp_path / "even.mkv", list(scene(6)), "yuv444p", times=[0, 33, 67, 100, 133, 167])
    assert Video.read(even).notes == []
    uneven = encode(tmp_path / "uneven.mkv", list(scene(6)), "yuv444p", times=[0, 40, 80, 120, 500, 540])
    assert Video.read(uneven).notes == [
        "its frames follow each other after 40 to 380 ms, and are taken as evenly spaced"
    ]
    # Of those that are read.
    assert Video.read(uneven, frames=(0, 4)).notes == []


def test_pictures_of_a_gif_have_their_own_times(tmp_path):
    pictures = [
        Pillow.fromarray(frame) for frame in scene(4) + np.arange(4, dtype=np.uint8)[:, None, None, None]
    ]
    pictures[0].save(
        tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[50, 50, 400, 50]
    )
    notes = Video.read(tmp_path / "a.gif").notes
    assert notes == ["its frames follow each other after 50 to 400 ms, and are taken as evenly spaced"]


def test_other_streams_are_said_to_be_left_out(tmp_path):
    with av.open(str(tmp_path / "film.mkv"), "w") as file:
        films = [file.add_stream("ffv1", rate=10) for _ in range(2)]
        for stream in films:
            stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv444p"
        sound = file.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        file.mux(sound.encode(frame))
        for each in scene():
            for place, stream in enumerate(films):
                picture = each if place == 0 else each[::-1]
                file.mux(
                    stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"))
                )
        for stream in (*films, sound):
            file.mux(stream.encode())
    video = Video.read(tmp_path / "film.mkv")
    assert video.notes == ["the first of its 2 video streams", "its audio left out"]
    assert np.abs(video.frame(0).astype(int) - scene()[0]).mean() < 3


def test_interlaced_frames_are_said(tmp_path):
    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"flags": "+ildct+ilme", "x264-params": "tff=1"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for each in scene():
            file.mux(stream.encode(av.VideoFrame.from_ndarray(each, format="rgb24")))
        file.mux(stream.encode())
    assert Video.read(tmp_path / "film.mp4").notes == [
        "interlaced: each frame holds two moments, in every other row"
    ]


def moving_png(path, **options):
    """Frames of an animated PNG, of which all but the first store only what changes."""
    frames = np.repeat(np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), np.uint8), 4, 0)
    for index in range(1, 4):
        frames[index, 5:9, 3 + index : 9 + index] = 60 * index
    first, *others = (Pillow.fromarray(frame) for frame in frames)
    first.save(path, "PNG", save_all=True, append_images=others, duration=100, **options)
    return frames


def test_animated_png_is_read_exactly(tmp_path):
    frames = moving_png(tmp_path / "a.png")
    video = Video.read(tmp_path / "a.png")
    np.testing.assert_array_equal(np.stack([video.frame(index) for index in range(4)]), frames)
    assert (video.rate, video.notes) == (10, [])
    # An image that is shown where animations are not is none of the frames.
    moving_png(tmp_path / "b.png", default_image=True)
    np.testing.assert_array_equal(Video.read(tmp_path / "b.png").frame(2), frames[3])


def test_animated_png_without_its_end_is_truncated(tmp_path):
    moving_png(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    for end in (len(content) - 12, len(content) - 40, len(content) // 2):
        (tmp_path / "a.png").write_bytes(content[:end])
        with pytest.raises(SoftmineError, match="it is truncated"):
            Video.read(tmp_path / "a.png")


def test_images_are_no_videos(tmp_path):
    image = Pillow.new("RGB", (8, 8))
    image.save(tmp_path / "a.png")
    with pytest.raises(SoftmineError, match="it is no video but 'png_pipe'"):
        Video.read(tmp_path / "a.png")
    image.save(tmp_path / "a.webp", save_all=True, append_images=[Pillow.new("RGB", (8, 8), "red")])
    with pytest.raises(
        SoftmineError, match="WebP cannot be read as a video; convert it to MP4, GIF or animated PNG"
    ):
        Video.read(tmp_path / "a.webp")
