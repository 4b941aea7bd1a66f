"""The video task: evaluation, contact sheet, film."""

import json
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from films import write_video
from softmine.domain import SoftmineError
from softmine.runs.task import Evaluator, Task
from softmine.signals import Video
from softmine.signals.synthetic.formulas import moving_discs
from softmine.tasks import film as video_film
from softmine.tasks.video.task import Options, VideoTask, read
from softmine.training import evaluation as rules
from softmine.training.settings import FitSettings

CPU = torch.device("cpu")


class Shifted(torch.nn.Module):
    """The video itself, too bright by ``by`` from frame ``first`` on."""

    def __init__(self, video, by, first=0):
        super().__init__()
        self.video, self.by, self.first = video, by, first

    def forward(self, coords):
        late = (coords[:, :1] * self.video.shape[0]).floor() >= self.first
        return self.video(coords) + self.by * late


@pytest.fixture
def clip():
    """Ten dark frames, of 31 x 20 pixels, so that nothing is clipped and sides are odd."""
    return Video(moving_discs(10, 20, 31) // 2, "clip", rate=Fraction(30000, 1001))


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate, np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])


def test_is_a_task(clip):
    task = VideoTask(clip)
    assert isinstance(task, Task)
    assert isinstance(task.make_evaluator(CPU), Evaluator)
    assert task.size() == "10 frames of 31 x 20 at 29.97 a second"
    described = json.loads(json.dumps(task.describe()))
    assert described["shape"] == [10, 20, 31, 3]
    assert described["path"] is None


def test_the_field_answers_the_videos_coordinates(clip):
    field = VideoTask(clip).make_field(FitSettings(log2_table_size=8))
    assert field(torch.rand(5, 3)).shape == (5, 3)
    assert field.encoding.resolutions[-1].tolist() == [10, 20, 31]


def test_psnr_over_all_voxels_and_of_each_frame(clip):
    evaluator = VideoTask(clip).make_evaluator(CPU)
    result = evaluator(Shifted(clip, 0.1, first=9))
    assert "all 6,200 voxels" in evaluator.describe()
    assert not result.subset
    assert result.psnr == pytest.approx(30.0, abs=0.01)
    assert result.more["frame_psnr_min"] == pytest.approx(20.0, abs=0.01)


def test_a_large_video_is_measured_on_a_fixed_subset(clip, monkeypatch):
    monkeypatch.setattr(rules, "ALL", 1000)
    monkeypatch.setattr(rules, "SUBSET", 500)
    evaluator = VideoTask(clip).make_evaluator(CPU)
    result = evaluator(Shifted(clip, 0.1))
    assert (result.samples, result.subset) == (500, True)
    assert result.psnr == pytest.approx(20.0, abs=0.01)
    assert "500 of 6,200" in evaluator.describe()
    assert torch.equal(evaluator.cells, VideoTask(clip).make_evaluator(CPU).cells)


class TestReconstruction:
    def test_six_frames_and_the_psnr_of_all(self, clip):
        shares = []
        result = VideoTask(clip).reconstruct(Shifted(clip, 0.1, first=5), CPU, report=shares.append)
        assert result.values.shape == result.target.shape == (*result.error.shape, 3)
        assert result.values.shape[:2] == (2 * 20 + 4, 3 * 31 + 2 * 4)
        assert np.allclose(result.target[:20, :31], clip.frame(0) / 255)
        # The reconstruction is kept in 8 bits.
        assert np.abs(result.error[24:, :31] - 0.1).max() < 1 / 255
        assert result.psnr == pytest.approx(23.01, abs=0.01)
        assert result.frame_psnr[9] == pytest.approx(20.0, abs=0.01)
        assert result.note.startswith("frames 0, 2, 4, 5, 7, 9 of 10")
        assert shares[-1] == 1.0

    def test_a_small_one_looks_at_few_voxels(self, clip, tmp_path):
        asked = []

        class Counting(Shifted):
            def forward(self, coords):
                asked.append(len(coords))
                return super().forward(coords)

        task = VideoTask(clip)
        result = task.reconstruct(Counting(clip, 0.1), CPU, small=True)
        assert sum(asked) == 6 * 20 * 31
        assert result.psnr is None
        assert task.write_output(Shifted(clip, 0.1), result, tmp_path, CPU) == []

    @pytest.mark.parametrize("shape", [(1, 3, 5), (2, 1, 1), (4, 700, 90)])
    def test_few_tiny_and_tall_frames(self, shape):
        video = Video(moving_discs(*shape) // 2)
        result = VideoTask(video).reconstruct(Shifted(video, 0.1), CPU)
        assert max(result.values.shape) < 3000
        assert result.psnr == pytest.approx(20.0, abs=0.01)

    def test_a_field_that_is_not_finite(self, clip):
        result = VideoTask(clip).reconstruct(Shifted(clip, float("nan")), CPU)
        assert np.isnan(result.psnr)
        assert np.isfinite(result.values).all()


class TestFilm:
    def written(self, clip, folder, field=None):
        task = VideoTask(clip)
        field = field or Shifted(clip, 0.2, first=5)
        shares = []
        outputs = task.write_output(field, task.reconstruct(field, CPU), folder, CPU, shares.append)
        assert shares[-1] == 1.0
        return outputs

    def test_both_sides_at_the_videos_rate(self, clip, tmp_path):
        outputs = self.written(clip, tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {output.file for output in outputs}
        rate, frames = decode(tmp_path / "video.mp4")
        assert rate == Fraction(30000, 1001)
        assert frames.shape == (10, 20, 62, 3)
        left, right = frames[:, :, :30].astype(float), frames[:, :, 32:].astype(float)
        original = np.stack([clip.frame(i) for i in range(10)])
        assert np.abs(left - original[:, :, :30]).mean() < 8
        assert np.abs((right - left)[:5].mean()) < 4
        assert (right[5:].mean() - original[5:, :, 1:].mean()) == pytest.approx(51, abs=5)

    def test_psnr_of_each_frame(self, clip, tmp_path):
        outputs = self.written(clip, tmp_path)
        numbers = json.loads((tmp_path / "frame_psnr.json").read_text())
        assert len(numbers["psnr"]) == 10
        assert numbers["min"] == pytest.approx(13.98, abs=0.01)
        assert "13.98 dB in the worst, frame" in outputs[1].label
        Pillow.open(tmp_path / "frame_psnr.png").load()

    def test_an_exact_fit(self, clip, tmp_path):
        self.written(clip, tmp_path, Shifted(clip, 0.0))
        assert json.loads((tmp_path / "frame_psnr.json").read_text())["psnr"] == [None] * 10

    def test_without_h264(self, clip, tmp_path, monkeypatch):
        monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
        outputs = self.written(clip, tmp_path)
        assert "MPEG-4: this FFmpeg has no encoder for H.264" in outputs[0].label
        with av.open(str(tmp_path / "video.mp4")) as container:
            assert container.streams.video[0].codec_context.name == "mpeg4"

    def test_wide_and_odd_frames(self, tmp_path, monkeypatch):
        monkeypatch.setattr(video_film, "MOST_WIDTH", 40)
        video = Video(moving_discs(3, 19, 31))
        outputs = self.written(video, tmp_path)
        assert "reduced to 30 x 10" in outputs[0].label
        assert decode(tmp_path / "video.mp4")[1].shape == (3, 10, 30, 3)
        monkeypatch.setattr(video_film, "MOST_WIDTH", 4096)
        self.written(video, tmp_path)
        assert decode(tmp_path / "video.mp4")[1].shape == (3, 20, 62, 3)

    def test_a_place_that_cannot_be_written(self, clip, tmp_path):
        with pytest.raises(SoftmineError, match="cannot write"):
            self.written(clip, tmp_path / "nowhere")


class TestRead:
    def test_without_a_path(self):
        assert read(None, Options()).signal.name == "discs"
        with pytest.raises(SoftmineError, match="give a PATH"):
            read(None, Options(downscale=2))

    @pytest.mark.parametrize(("text", "count"), [("", 10), ("2:5", 3), (":4", 4), ("6:", 4), ("8:99", 2)])
    def test_frames(self, tmp_path, text, count):
        path = write_video(tmp_path / "film.mp4", moving_discs(10, 20, 32))
        assert read(str(path), Options(frames=text)).signal.shape == (count, 20, 32, 3)

    @pytest.mark.parametrize("text", ["3", "a:b", "-1:4", "1:2:3"])
    def test_frames_that_are_no_range(self, text):
        with pytest.raises(SoftmineError, match="give A:B"):
            read("film.mp4", Options(frames=text))

    def test_without_the_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "av", None)
        with pytest.raises(SoftmineError, match=r"pip install 'softmine\[video\]'"):
            read(None, Options())
