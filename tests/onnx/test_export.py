"""Exported graphs compute the same as the models, and an export is written completely or not at all."""

import copy
import dataclasses
import logging
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile
import torch

import onnx
from ns2_diffusers import EncodecCodec, NaturalSpeech2DDPMScheduler, OnnxNaturalSpeech2Pipeline, WaveNetDenoiser
from ns2_diffusers.cli import main
from ns2_diffusers.masks import lengths_mask
from ns2_diffusers.onnx import export
from ns2_diffusers.onnx.noise import generator_of
from onnx import numpy_helper

from ..conftest import fill_zeros


def run_graph(graph, path, **arrays):
    """Write a graph, and return its outputs for arrays of other sizes than those of the export."""
    export.write_graph(graph, path)
    session = onnxruntime.InferenceSession(path)
    taken = {each.name for each in session.get_inputs()}
    return session.run(None, {name: np.asarray(array) for name, array in arrays.items() if name in taken})


def test_a_wavenet_with_estimates_and_embedded_guidance(torch_pipeline, tmp_path):
    config = {"latent_channels": 16, "hidden_size": 32, "condition_dim": 32, "num_layers": 4, "num_query_tokens": 4}
    denoiser = WaveNetDenoiser(**config, num_attention_heads=2, self_conditioning=True, guidance_embeds=True)
    fill_zeros(denoiser.eval())
    parts = dict(torch_pipeline.components) | {"denoiser": denoiser}
    graphs = export.make_graphs(type("Parts", (), parts))
    t, p = 9, 6
    mask, prompt_mask = lengths_mask([t, 5, 7]), lengths_mask([p, p, 4])
    states, prompt, pitch = torch.randn(3, t, 32), torch.randn(3, p, 32), 100 + 200 * torch.rand(3, t)
    sample, estimate, without = torch.randn(3, 16, t), torch.randn(3, 16, t), torch.tensor([False, True, False])
    adaptor = torch_pipeline.variance_adaptor
    with torch.no_grad():
        bins = torch.bucketize(pitch, adaptor.pitch_boundaries())
        condition = (states + adaptor.pitch_embedding(bins)) * mask.unsqueeze(-1)
        given = denoiser.replace_with_nulls(condition, prompt, without, without)
        wanted = denoiser(
            sample, 321.5, *given, sample_mask=mask, prompt_mask=prompt_mask, guidance=1.7, self_condition=estimate
        ).sample
    arrays = {"states": states, "pitch": pitch, "mask": mask, "prompt": prompt, "prompt_mask": prompt_mask}
    encoded = run_graph(graphs["conditioning"], tmp_path / "conditioning.onnx", **arrays, without=without)
    named = {f"conditioning_{index}": each for index, each in enumerate(encoded)}
    found = run_graph(
        graphs["denoiser"],
        tmp_path / "denoiser.onnx",
        sample=sample,
        timestep=np.full(3, 321.5, np.float32),
        guidance=np.full(3, 1.7, np.float32),
        estimate=estimate,
        mask=mask,
        **named,
    )[0]
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-4)


def test_a_decoder_with_an_inverse_stft(istft_codec, tmp_path):
    graph = export.codec_graphs(copy.deepcopy(istft_codec), torch.export.Dim("batch"))["codec_decoder"]
    latents, mask = torch.randn(3, 16, 7), lengths_mask([7, 4, 6])
    with torch.no_grad():
        wanted = istft_codec.decode(latents, mask)[:, 0]
    found = run_graph(graph, tmp_path / "decoder.onnx", latents=latents, mask=mask)[0]
    assert wanted.abs().max() > 0.01
    np.testing.assert_allclose(found, wanted.numpy(), rtol=0, atol=1e-4)


def test_eight_bits_are_smaller_and_near(torch_pipeline, tmp_path):
    main_part = torch_pipeline.phoneme_encoder
    graph = export.make_graphs(torch_pipeline)["text_encoder"]
    export.write_graph(graph, tmp_path / "model.onnx")
    ids, mask = torch.randint(1, 50, (2, 11)), lengths_mask([11, 8])
    prompt, prompt_mask = torch.randn(2, 9, 32), lengths_mask([9, 9])
    with torch.no_grad():
        wanted = main_part(ids, mask, prompt, prompt_mask).last_hidden_state.numpy()
    size = (tmp_path / "model.onnx").stat().st_size
    export.quantize(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size < size and len(list(tmp_path.iterdir())) == 1
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    arrays = {"input_ids": ids, "symbol_mask": mask, "prompt": prompt, "prompt_mask": prompt_mask}
    found = session.run(["states"], {name: array.numpy() for name, array in arrays.items()})[0]
    error = np.sqrt(np.square(found - wanted).mean() / np.square(wanted).mean())
    assert 0 < error < 0.1


def test_eight_bits_do_not_overflow(tmp_path, caplog):
    """Without VNNI, processors add pairs of products of 8 bits in 16 bits."""
    linear = torch.nn.Linear(64, 8, bias=False)
    torch.nn.init.ones_(linear.weight)
    sizes = {"inputs": {0: torch.export.Dim("rows")}}
    export.write_graph(
        export.Graph(linear, {"inputs": torch.ones(2, 64)}, sizes, ["outputs"]), tmp_path / "model.onnx"
    )
    export.quantize(tmp_path / "model.onnx")
    # onnxruntime's advice on image models is left out, and later messages of others are heard.
    assert not [each for each in caplog.records if each.name == "root"]
    logging.warning("Please consider to run pre-processing before quantization.")
    assert [each.name for each in caplog.records][-1] == "root"
    weights = [numpy_helper.to_array(each) for each in onnx.load(tmp_path / "model.onnx").graph.initializer]
    stored = [each for each in weights if each.dtype == np.int8 and each.ndim == 2]
    assert len(stored) == 1 and np.abs(stored[0]).max() == 64
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (found,) = session.run(None, {"inputs": np.ones((2, 64), np.float32)})
    np.testing.assert_allclose(found, 64.0, rtol=0.01)


def test_what_is_not_exported_is_refused(make_tiny_pipeline, tmp_path):
    encodec = EncodecCodec(num_filters=2, latent_channels=16)
    with pytest.raises(ValueError, match="the codec is a EncodecCodec"):
        export.export_onnx(make_tiny_pipeline(codec=encodec), tmp_path / "model")
    with pytest.raises(ValueError, match="NaturalSpeech2DDPMScheduler, which has no counterpart"):
        export.export_onnx(make_tiny_pipeline(scheduler=NaturalSpeech2DDPMScheduler()), tmp_path / "model")
    with pytest.raises(ValueError, match="already something"):
        export.export_onnx(make_tiny_pipeline(), tmp_path)
    assert not any(tmp_path.iterdir())


def test_progress_names_the_graphs(make_tiny_pipeline, tmp_path, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(export, "write_graph", lambda graph, path: written.append(path.parent.name))
    monkeypatch.setattr(export, "quantize", lambda path: None)
    pipe = make_tiny_pipeline()
    monkeypatch.setattr(export, "make_graphs", lambda pipe: {"text_encoder": None, "codec_decoder": None})
    monkeypatch.setattr(export, "check_exportable", lambda pipe: None)
    monkeypatch.setattr(export, "settings_of", lambda pipe: {})
    pipe.set_progress_bar_config(disable=False, mininterval=0)
    export.export_onnx(pipe, tmp_path / "loud", int8=True)
    shown = capsys.readouterr().err
    assert written == ["text_encoder", "codec_decoder"]
    assert "text_encoder:   0%" in shown and "codec_decoder:  50%" in shown and "codec_decoder: 100%" in shown
    pipe.set_progress_bar_config(disable=True)
    export.export_onnx(pipe, tmp_path / "quiet")
    assert capsys.readouterr().err == ""


def test_a_failure_leaves_nothing_behind(torch_pipeline, tmp_path, monkeypatch):
    def fail(graph, path):
        path.write_bytes(b"half")
        raise RuntimeError("no")

    monkeypatch.setattr(export, "write_graph", fail)
    with pytest.raises(RuntimeError):
        export.export_onnx(torch_pipeline, tmp_path / "model")
    assert not any(tmp_path.iterdir())


def test_the_command_line_exports_and_speaks(exported, clips, tmp_path, monkeypatch, capsys, pipe):
    """The command writes the graphs of the function (a stand-in: a second export would take long)."""
    monkeypatch.chdir(tmp_path)
    calls = []
    monkeypatch.setattr(export, "export_onnx", lambda *arguments: calls.append(arguments))
    model = tmp_path / "torch-model"
    monkeypatch.setattr("ns2_diffusers.cli.load_pipeline", lambda args: (args.runtime, args.device, args.model))
    assert main(["export", "onnx", "--model", str(model), "--output", "made", "--int8", "-q"]) == 0
    assert calls == [(("torch", "cpu", str(model)), Path("made"), True)]
    monkeypatch.undo()

    monkeypatch.chdir(tmp_path)
    speak = ["generate", "Hello there.", "--model", str(exported), "--prompt", str(clips[0]), "--seed", "3", "-q"]
    assert main([*speak, "-o", "out.wav"]) == 0, capsys.readouterr().err
    wanted = pipe("Hello there.", clips[0], generator=generator_of(3)).audios[0]
    np.testing.assert_allclose(soundfile.read("out.wav", dtype="float32")[0], wanted, rtol=0, atol=1.01 / 2**15)
    for extra, message in (
        (["--runtime", "torch"], "is a model for onnxruntime: leave --runtime torch out; a command without --runtime"),
        (["--scheduler", "euler"], "--scheduler euler is not for"),
        (["--device", "cuda"], "--device cuda is not for"),
    ):
        assert main([*speak, "-o", "other.wav", *extra]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "other.wav").exists()


def test_a_model_of_torch_is_not_run_by_onnxruntime(tiny_pipeline_dir, capsys):
    assert main(["generate", "Hi.", "--model", str(tiny_pipeline_dir), "--runtime", "onnx", "-o", "out.wav"]) == 2
    assert "ns2-diffusers export onnx" in capsys.readouterr().err


def test_the_output_is_that_of_torch(pipe, clips):
    output = pipe("Yes.", clips[0])
    names = [field.name for field in dataclasses.fields(output)]
    assert list(output.to_tuple()) == [getattr(output, name) for name in names]
    assert isinstance(pipe, OnnxNaturalSpeech2Pipeline)
    assert pipe("Yes.", clips[0], return_dict=False)[1] == output.sampling_rate
