"""Videos: look-up, files, bad files, where frames are kept."""

import io
import sys
import tempfile
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from films import write_video
from softmine.domain import SoftmineError
from softmine.signals import Signal, Video
from softmine.signals.synthetic.formulas import moving_discs
from softmine.signals.video import files as video_files
from softmine.signals.video import store as video_store


@pytest.fixture
def noise():
    frames = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    return Video(frames)


def smooth(frames=9, height=48, width=64):
    """Frames whose colors survive lossy compression: flat in space, each its own."""
    clip = np.zeros((frames, height, width, 3), np.uint8)
    clip[..., 0] = 20 * np.arange(frames)[:, None, None]
    clip[..., 1] = np.linspace(40, 200, width)
    clip[..., 2] = np.linspace(200, 40, height)[:, None]
    return clip


class TestLookUp:
    def test_is_a_signal(self, noise):
        assert isinstance(noise, Signal)
        assert noise.domain.shape == (5, 6, 7)

    def test_every_center_has_its_own_value(self, noise):
        cells = torch.arange(noise.domain.cells)
        expected = noise.stored.float() / 255
        assert torch.equal(noise(noise.domain.centers(cells)), expected)
        assert torch.equal(noise(noise.domain.snap(noise.domain.centers(cells))), expected)

    def test_with_and_without_neighbors_agree_at_centers(self, noise):
        coords = noise.domain.centers(torch.arange(noise.domain.cells))
        slow = noise(coords.clone().requires_grad_())
        assert torch.allclose(slow, noise(coords), atol=1e-5)

    def test_linear_between_centers_on_every_axis(self, noise):
        random = torch.Generator().manual_seed(0)
        low = torch.rand(50, 3, generator=random) * 0.5
        low = noise.domain.snap(low).double()
        for axis in range(3):
            high = low.clone()
            high[:, axis] += 1 / noise.domain.shape[axis]
            for share in (0.25, 0.7):
                between = torch.lerp(low, high, share)
                expected = torch.lerp(noise(low), noise(high), share)
                assert torch.allclose(noise(between), expected, atol=1e-6)

    def test_constant_beyond_the_outermost_centers(self, noise):
        ends = noise(torch.tensor([[0.0, 0.0, 0.0], [0.9999, 0.9999, 0.9999]]))
        corners = noise.stored[[0, -1]].float() / 255
        assert torch.allclose(ends, corners)

    def test_gradient(self, noise):
        random = torch.Generator().manual_seed(1)
        cells = torch.randint(4, (20, 3), generator=random)
        native = cells + 0.6 + 0.8 * torch.rand(20, 3, generator=random, dtype=torch.float64)
        coords = (native / torch.tensor([5.0, 6.0, 7.0])).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: noise(x), coords, eps=1e-6, atol=1e-4)

    def test_nan_gives_nan(self, noise):
        values = noise(torch.tensor([[0.5, float("nan"), 0.5], [0.1, 0.1, 0.1]]))
        assert values[0].isnan().all()
        assert values[1].isfinite().all()

    def test_other_coordinates_are_refused(self, noise):
        with pytest.raises(SoftmineError, match=r"shape \(N, 3\)"):
            noise(torch.zeros(4, 2))

    @pytest.mark.parametrize(
        "frames", [np.zeros((2, 3, 3), np.uint8), np.zeros((1, 2, 2, 3)), np.zeros((0, 2, 2, 3), np.uint8)]
    )
    def test_other_frames_are_refused(self, frames):
        with pytest.raises(SoftmineError, match="uint8 of shape"):
            Video(frames)


class TestEdges:
    def test_a_step_in_space_and_a_cut_in_time_weigh_the_same(self):
        frames = np.zeros((8, 8, 8, 3), np.uint8)
        frames[:, :, 4:] = 255
        assert np.isclose(Video(frames).edges().max(), 0.5**0.5)
        frames = np.zeros((8, 8, 8, 3), np.uint8)
        frames[4:] = 255
        edges = Video(frames).edges()
        assert np.isclose(edges.max(), 0.5**0.5)
        assert edges[[0, 1, 2, 5, 6, 7]].max() == 0
        assert edges[3:5].min() > 0

    @pytest.mark.parametrize("shape", [(100, 20, 30), (2, 200, 300), (1, 1, 500), (30, 30, 30)])
    @pytest.mark.parametrize("most", [1, 7, 1000, 27000])
    def test_never_more_cells_than_allowed(self, shape, most):
        edges = Video(np.zeros((*shape, 3), np.uint8)).edges(most)
        assert 1 <= edges.numel() <= most
        assert all(cells <= size for cells, size in zip(edges.shape, shape, strict=True))
        if shape == (30, 30, 30) and most == 1000:
            assert edges.shape == (10, 10, 10)

    def test_no_cells(self, noise):
        with pytest.raises(SoftmineError, match="at least 1"):
            noise.edges(0)


class TestFiles:
    @pytest.mark.parametrize(
        ("suffix", "codec"),
        [("mp4", "libx264"), ("mp4", "mpeg4"), ("mkv", "libx264"), ("avi", "mpeg4"), ("webm", "libvpx-vp9")],
    )
    def test_frames_come_in_order_and_in_their_colors(self, tmp_path, suffix, codec):
        frames = smooth()
        path = write_video(tmp_path / f"film.{suffix}", frames, codec=codec, rate=Fraction(24))
        video = Video.read(path)
        assert video.shape == frames.shape
        assert video.rate == 24
        assert video.name == "film"
        assert np.abs(np.stack([video.frame(i) for i in range(9)]).astype(int) - frames).mean() < 4

    def test_a_part_at_a_smaller_size(self, tmp_path):
        frames = smooth()
        path = write_video(tmp_path / "film.mp4", frames)
        video = Video.read(path, 2, (3, 6))
        assert video.shape == (3, 24, 32, 3)
        small = frames[3:6].reshape(3, 24, 2, 32, 2, 3).mean((2, 4))
        assert np.abs(np.stack([video.frame(i) for i in range(3)]) - small).mean() < 5
        assert video.fingerprint != Video.read(path).fingerprint
        assert Video.read(path, frames=(7, None)).shape[0] == 2

    def test_a_turned_film_is_upright(self, tmp_path):
        frames = smooth()
        path = write_video(tmp_path / "film.mp4", frames)
        plain = Video.read(path).frame(2)
        content = path.read_bytes()
        # The matrix in the track's header: a quarter turn clockwise, as phones write it.
        start = content.index(b"tkhd") + 44
        turn = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30], ">i4").tobytes()
        path.write_bytes(content[:start] + turn + content[start + 36 :])
        turned = Video.read(path)
        assert turned.shape == (9, 64, 48, 3)
        assert np.array_equal(turned.frame(2), np.rot90(plain, -1))

    def test_pixel_formats(self, tmp_path):
        frames = smooth()
        for pixels, codec, suffix in (
            ("yuv444p", "libx264", "mp4"),
            ("gray", "ffv1", "mkv"),
            ("yuv420p10le", "ffv1", "mkv"),
            ("bgra", "ffv1", "mkv"),
        ):
            if codec not in av.codecs_available:
                continue
            video = Video.read(
                write_video(tmp_path / f"{pixels}.{suffix}", frames, codec=codec, pixels=pixels)
            )
            expected = frames.astype(float)
            if pixels == "gray":
                expected = (frames @ [0.299, 0.587, 0.114])[..., None]
            assert np.abs(video.frame(4) - expected[4]).mean() < 4, pixels

    def test_colors_without_a_name_are_those_of_their_size(self, tmp_path):
        # Pure red: luma 81, chroma 90 and 240 by BT.601, luma 63, chroma 102 and 240 by BT.709.
        for height, planes in ((64, (81, 90, 240)), (720, (63, 102, 240))):
            path = tmp_path / f"{height}.mkv"
            with av.open(str(path), "w") as container:
                stream = container.add_stream("ffv1", rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, height, "yuv420p"
                frame = av.VideoFrame(64, height, "yuv420p")
                for plane, value in zip(frame.planes, planes, strict=True):
                    plane.update(bytes([value]) * plane.buffer_size)
                container.mux(stream.encode(frame))
                container.mux(stream.encode())
            assert np.abs(Video.read(path).frame(0).astype(int) - [255, 0, 0]).max() <= 3

    def test_progress(self, tmp_path):
        shares = []
        Video.read(write_video(tmp_path / "film.mp4", smooth()), report=shares.append)
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert len(shares) >= 9

    def test_the_builtin_clip_is_always_the_same(self):
        video = Video.builtin()
        assert video.shape == (32, 120, 160, 3)
        assert video.fingerprint == Video.builtin().fingerprint
        moved = np.abs(np.diff(moving_discs().astype(int), axis=0)).mean((1, 2, 3))
        assert (moved > 1).all()


class TestStore:
    @pytest.fixture
    def kept(self, tmp_path, monkeypatch):
        """A folder for temporary files, and a limit that a small film passes in the middle."""
        folder = tmp_path / "temporary"
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        monkeypatch.setattr(video_store, "LOAD_BYTES", 3 * 48 * 64 * 3)
        return folder

    @pytest.mark.parametrize("expected", [0, 9])
    def test_frames_in_a_file_are_those_in_memory(self, kept, tmp_path, monkeypatch, expected):
        frames = smooth()
        store = video_store.FrameStore("", (48, 64), expected)
        for frame in frames:
            store.add(frame)
        array = store.finish()
        assert isinstance(array, np.memmap)
        assert np.array_equal(array, frames)
        assert list(kept.iterdir()) == []
        video, memory = Video(array), Video(frames)
        assert not video.in_memory
        coords = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
        assert torch.equal(video(coords), memory(coords))
        assert torch.equal(video.edges(100), memory.edges(100))
        assert video.fingerprint == memory.fingerprint
        assert len(video.stored) == 0

    def test_reading_beyond_memory_leaves_nothing(self, kept, tmp_path):
        path = write_video(tmp_path / "film.mp4", smooth())
        video = Video.read(path)
        assert not video.in_memory
        assert list(kept.iterdir()) == []
        assert {entry.name for entry in tmp_path.iterdir()} == {"film.mp4", "temporary"}

    def test_no_room(self, kept, tmp_path, monkeypatch):
        usage = type("usage", (), {"free": 1000})
        monkeypatch.setattr(video_store.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(SoftmineError, match="TMPDIR"):
            Video.read(write_video(tmp_path / "film.mp4", smooth()))
        assert list(kept.iterdir()) == []

    def test_a_disk_that_fills_up(self, kept, monkeypatch):
        class Full(io.BytesIO):
            def write(self, data):
                raise OSError(28, "No space left on device")

        monkeypatch.setattr(video_store.tempfile, "TemporaryFile", lambda prefix: Full())
        store = video_store.FrameStore("cannot read film.mp4", (48, 64), 0)
        frame = smooth()[0]
        for _ in range(3):
            store.add(frame)
        with pytest.raises(SoftmineError, match=r"cannot read film.mp4: its frames need"):
            store.add(frame)

    def test_frames_that_change_size(self):
        store = video_store.FrameStore("cannot read film.ts", (48, 64), 0)
        store.add(smooth()[0])
        with pytest.raises(SoftmineError, match="64 x 48 to 32 x 48 pixels at frame 1"):
            store.add(np.zeros((48, 32, 3), np.uint8))


class TestBadFiles:
    def refused(self, path, **options):
        with pytest.raises(SoftmineError) as caught:
            Video.read(path, **options)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        return str(caught.value)

    def test_no_file_folder_and_empty_file(self, tmp_path):
        assert "no such file" in self.refused(tmp_path / "none.mp4")
        assert "is a folder" in self.refused(tmp_path)
        (tmp_path / "empty.mp4").touch()
        assert "empty" in self.refused(tmp_path / "empty.mp4")

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("text.mp4", "hello\n" * 50),
            ("text.txt", "hello\n" * 50),
            ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://localhost:9/a.ts\n"),
            ("list.ffconcat", "ffconcat version 1.0\nfile a.mp4\n"),
        ],
    )
    def test_no_video(self, tmp_path, name, content):
        path = tmp_path / name
        path.write_text(content)
        assert "no video" in self.refused(path)

    def test_an_image(self, tmp_path):
        from PIL import Image as Pillow

        for name in ("picture.png", "picture.jpg"):
            Pillow.fromarray(smooth()[0]).save(tmp_path / name)
            assert "no video but" in self.refused(tmp_path / name)

    def test_only_audio(self, tmp_path):
        path = tmp_path / "sound.wav"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        assert "no video stream, only audio" in self.refused(path)

    def test_an_unknown_codec(self, tmp_path):
        path = write_video(tmp_path / "film.mp4", smooth())
        path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9"))
        assert "codec" in self.refused(path)

    def test_no_frames(self, tmp_path):
        path = tmp_path / "film.avi"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            container.start_encoding()
        assert "no frames" in self.refused(path)

    def test_frames_that_are_not_there(self, tmp_path):
        path = write_video(tmp_path / "film.mp4", smooth())
        assert "only 9 frames" in self.refused(path, frames=(9, None))
        assert "are none" in self.refused(path, frames=(4, 4))
        assert "downscale is 0" in self.refused(path, downscale=0)

    @pytest.mark.parametrize("share", [0.2, 0.7, 0.95])
    @pytest.mark.parametrize("suffix", ["mp4", "faststart.mp4", "mkv", "webm", "avi"])
    def test_truncated(self, tmp_path, suffix, share):
        codec = {"webm": "libvpx-vp9", "avi": "mpeg4"}.get(suffix, "libx264")
        options = {"movflags": "faststart"} if "faststart" in suffix else {}
        path = write_video(
            tmp_path / f"film.{suffix}", moving_discs(9, 48, 64), codec=codec, container=options
        )
        assert Video.read(path).shape[0] == 9
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        assert "truncated" in self.refused(path)

    def test_colors_that_cannot_be_converted(self, tmp_path):
        ycgco = 8
        path = tmp_path / "film.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
            stream.codec_context.colorspace = ycgco
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.colorspace = ycgco
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        assert "its colors (yuv420p, matrix 8) cannot be converted to RGB" in self.refused(path)

    def test_damaged_in_the_middle(self, tmp_path):
        path = write_video(
            tmp_path / "film.mp4", moving_discs(20, 96, 128), container={"movflags": "faststart"}
        )
        content = bytearray(path.read_bytes())
        start = content.index(b"mdat") + 1000
        content[start : start + 600] = bytes(np.random.default_rng(0).integers(0, 256, 600, dtype=np.uint8))
        path.write_bytes(content)
        assert "damaged" in self.refused(path)

    def test_without_the_library(self, tmp_path, monkeypatch):
        path = write_video(tmp_path / "film.mp4", smooth())
        monkeypatch.setitem(sys.modules, "av", None)
        assert "pip install 'softmine[video]'" in self.refused(path)

    def test_open_ends_are_not_truncation(self, tmp_path):
        path = tmp_path / "film.mkv"
        path.write_bytes(b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff")
        video_files._check_complete(path, "")
        path.write_bytes(b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\x84\x00")
        with pytest.raises(SoftmineError, match="promises 14"):
            video_files._check_complete(path, "")


def test_matroska_that_ends_within_a_length_is_read(tmp_path):
    path = write_video(tmp_path / "a.mkv", smooth(), codec="ffv1")
    # A void element, of whose length of eight bytes there is one.
    path.write_bytes(path.read_bytes() + b"\xec\x01\x01")
    assert video_files.read(path).frames.shape == smooth().shape
