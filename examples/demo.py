"""Speak with a recorded voice in the browser.

pip install "ns2-diffusers[demo]"
python examples/demo.py --model outputs/quickstart/pipeline
"""

import argparse

from ns2_diffusers import NaturalSpeech2Pipeline
from ns2_diffusers.training.arguments import HelpFormatter


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--model", required=True, help="pipeline directory or hub id")
    parser.add_argument("--share", action="store_true", help="give it a public address")
    return parser.parse_args(argv)


def speak(pipe, text, prompt, steps, speaking_rate):
    """One click: text and a recording, `(rate, samples)`, to speech of the same form."""
    output = pipe(text, prompt, num_inference_steps=int(steps), speaking_rate=speaking_rate)
    return output.sampling_rate, output.audios[0]


def build(pipe):
    import gradio

    def on_click(*inputs):
        try:
            return speak(pipe, *inputs)
        except (TypeError, ValueError) as error:
            raise gradio.Error(str(error)) from error

    return gradio.Interface(
        on_click,
        [
            gradio.Textbox(label="Text"),
            gradio.Audio(label="A few seconds of the voice, with its owner's consent"),
            gradio.Slider(1, 100, value=32, step=1, label="Steps"),
            gradio.Slider(0.5, 2, value=1, label="Speaking rate"),
        ],
        gradio.Audio(label="Speech"),
        title="NaturalSpeech 2",
    )


def main(args):
    build(NaturalSpeech2Pipeline.from_pretrained(args.model)).launch(share=args.share)


if __name__ == "__main__":
    main(parse_args())
