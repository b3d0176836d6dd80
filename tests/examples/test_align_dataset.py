import pytest
import torch
from accelerate.state import AcceleratorState

from ns2_diffusers import NaturalSpeech2Tokenizer, PhonemeAligner, load_codec
from ns2_diffusers.audio.loading import load_audio
from ns2_diffusers.audio.pitch import estimate_f0
from ns2_diffusers.data.alignments import voiced_vowels
from ns2_diffusers.data.prepared_dataset import PreparedRow, load_prepared_dataset, read_card, write_prepared_dataset
from ns2_diffusers.files import partial_name

align_dataset = pytest.importorskip("align_dataset", reason="the train extra is not installed")


@pytest.fixture(autouse=True)
def fresh_accelerator():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def rows(clips, transcripts, _codec):
    """Six clips, prepared without durations."""
    tokenizer, found = NaturalSpeech2Tokenizer(), []
    for path in clips[:6]:
        waveform, _ = load_audio(path)
        with torch.no_grad():
            _, codes = _codec.quantize(_codec.encode(waveform[None, None]))
        found.append(
            {
                "id": path.stem,
                "speaker": "allison",
                "text": transcripts[path.name],
                "phonemes": tokenizer.phonemize(transcripts[path.name]),
                "durations": [],
                "codes": codes[0],
                "f0": estimate_f0(waveform, 16000, 320)[: codes.shape[2]],
                "n_frames": codes.shape[2],
            }
        )
    return found


@pytest.fixture
def make_dataset(tmp_path, rows, tiny_codec):
    def make(name):
        write_prepared_dataset(
            [PreparedRow(**row) for row in rows], tmp_path / name, tiny_codec, NaturalSpeech2Tokenizer()
        )
        return tmp_path / name

    return make


def align(directory, *options):
    base = ["--dataset_dir", str(directory), "--batch_seconds", "20", "--max_train_steps", "6", "--logging_steps", "2"]
    align_dataset.main(align_dataset.parse_args([*base, *options]))
    return durations_of(directory)


def durations_of(directory):
    codec = load_codec(directory / "codec")
    tokenizer = NaturalSpeech2Tokenizer.from_pretrained(directory / "tokenizer")
    dataset = load_prepared_dataset(directory, codec, tokenizer)
    return dict(zip(dataset["id"], dataset["durations"], strict=True))


def test_every_symbol_gets_frames(make_dataset, rows, capsys):
    directory = make_dataset("set")
    unfinished = directory / "aligner" / partial_name("aligner")
    unfinished.mkdir(parents=True)
    found = align(directory)
    assert not unfinished.exists()
    tokenizer = NaturalSpeech2Tokenizer()
    for row in rows:
        durations = found[row["id"]]
        assert len(durations) == len(tokenizer(row["phonemes"], is_phonemes=True)["input_ids"])
        assert sum(durations) == row["n_frames"] and min(durations) >= 1
    assert read_card(directory)["aligned"]
    assert "step 6" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has durations already"):
        align(directory)


def test_a_trained_aligner_can_be_taken_as_it_is(make_dataset):
    first, second = make_dataset("first"), make_dataset("second")
    found = align(first)
    assert PhonemeAligner.from_pretrained(first / "aligner").config.feature_channels == 16
    again = align(second, "--aligner", str(first / "aligner"), "--max_train_steps", "0")
    assert again == found


def test_pauses_get_commas(make_dataset, rows):
    plain, marked = make_dataset("plain"), make_dataset("marked")
    before = align(plain)
    after = align(marked, "--pause_seconds", "0.1")
    codec, tokenizer = load_codec(marked / "codec"), NaturalSpeech2Tokenizer.from_pretrained(marked / "tokenizer")
    phonemes = {row["id"]: row["phonemes"] for row in load_prepared_dataset(marked, codec, tokenizer)}
    new = 0
    for row in rows:
        symbols = tokenizer(phonemes[row["id"]], is_phonemes=True)["input_ids"]
        assert len(symbols) == len(after[row["id"]]) and sum(after[row["id"]]) == row["n_frames"]
        new += len(phonemes[row["id"]]) - len(row["phonemes"])
        assert phonemes[row["id"]].replace(",", "") == row["phonemes"].replace(",", "")
    least = round(0.1 * codec.frame_rate)
    pauses = 0
    for row in rows:
        for index, symbol in enumerate(row["phonemes"], start=1):
            alone = symbol == " " and row["phonemes"][index - 2].isalpha()
            pauses += alone and before[row["id"]][index] >= least
    assert new == pauses > 0
    with pytest.raises(ValueError, match="--pause_seconds 0.01 is shorter than two frames"):
        align(make_dataset("short"), "--pause_seconds", "0.01")


def test_misaligned_utterances_are_left_out(make_dataset, rows):
    directory = make_dataset("set")
    codec, tokenizer = (
        load_codec(directory / "codec"),
        NaturalSpeech2Tokenizer.from_pretrained(directory / "tokenizer"),
    )
    durations = align(make_dataset("plain"))
    shares = {}
    for row in rows:
        symbols = tokenizer.convert_ids_to_tokens(tokenizer(row["phonemes"], is_phonemes=True)["input_ids"])
        shares[row["id"]] = voiced_vowels(symbols, durations[row["id"]], row["f0"].numpy())
    least = sorted(shares.values())[2]
    assert set(align(directory, "--min_voiced_vowels", str(least))) == {id_ for id_ in shares if shares[id_] >= least}
    assert len(load_prepared_dataset(directory, codec, tokenizer)) == read_card(directory)["utterances"] == 4


def test_resumed_is_uninterrupted(make_dataset, monkeypatch):
    whole, stopped = make_dataset("whole"), make_dataset("stopped")
    wanted = align(whole, "--checkpointing_steps", "4")

    class Killed(Exception):
        pass

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(align_dataset, "align", killed)
        with pytest.raises(Killed):
            align(stopped, "--checkpointing_steps", "4")
    assert not any(durations_of(stopped).values())
    assert align(stopped, "--checkpointing_steps", "4", "--resume_from_checkpoint", "latest") == wanted
