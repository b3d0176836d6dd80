"""NaturalSpeech 2 (arXiv 2304.09116) as a diffusers pipeline.

Names are imported at their first use, so `import ns2_diffusers` is fast, and works if an optional library cannot be
imported.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from .deferred_imports import deferring
from .registration import register_pipelines

# onnxruntime, a dependency of the English phonemizer that diffusers imports, writes a device id under the user's cache
# and sends events, unless this variable is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# For type checkers; a test checks that these imports agree with `_HOMES`.
if TYPE_CHECKING:
    from .models.codecs.encodec_codec import EncodecCodec as EncodecCodec
    from .models.codecs.loading import load_codec as load_codec
    from .models.codecs.residual_vector_quantizer import ResidualVectorQuantizer as ResidualVectorQuantizer
    from .models.codecs.vocos_codec import VocosCodec as VocosCodec
    from .models.phoneme_aligner import PhonemeAligner as PhonemeAligner
    from .models.phoneme_encoder import PhonemeEncoder as PhonemeEncoder
    from .models.speech_prompt_encoder import SpeechPromptEncoder as SpeechPromptEncoder
    from .models.transformer_denoiser import TransformerDenoiser as TransformerDenoiser
    from .models.variance_adaptor import VarianceAdaptor as VarianceAdaptor
    from .models.wavenet_denoiser import WaveNetDenoiser as WaveNetDenoiser
    from .onnx.pipeline import OnnxNaturalSpeech2Pipeline as OnnxNaturalSpeech2Pipeline
    from .pipelines.bundled import bundled as bundled
    from .pipelines.named_voices import named_voices as named_voices
    from .pipelines.pipeline_naturalspeech2 import NaturalSpeech2Pipeline as NaturalSpeech2Pipeline
    from .pipelines.pipeline_naturalspeech2_unconditional import (
        NaturalSpeech2UnconditionalPipeline as NaturalSpeech2UnconditionalPipeline,
    )
    from .pipelines.pipeline_output import NaturalSpeech2PipelineOutput as NaturalSpeech2PipelineOutput
    from .pipelines.precision import fastest_dtype as fastest_dtype
    from .pipelines.singing import sing as sing
    from .pipelines.voice import Voice as Voice
    from .schedulers.scheduling_ddim import NaturalSpeech2DDIMScheduler as NaturalSpeech2DDIMScheduler
    from .schedulers.scheduling_ddim_inverse import (
        NaturalSpeech2DDIMInverseScheduler as NaturalSpeech2DDIMInverseScheduler,
    )
    from .schedulers.scheduling_ddpm import NaturalSpeech2DDPMScheduler as NaturalSpeech2DDPMScheduler
    from .schedulers.scheduling_distilled import NaturalSpeech2DistilledScheduler as NaturalSpeech2DistilledScheduler
    from .schedulers.scheduling_euler import NaturalSpeech2EulerScheduler as NaturalSpeech2EulerScheduler
    from .schedulers.scheduling_euler_inverse import (
        NaturalSpeech2EulerInverseScheduler as NaturalSpeech2EulerInverseScheduler,
    )
    from .text.tokenizer import NaturalSpeech2Tokenizer as NaturalSpeech2Tokenizer

__version__ = "0.1.0"

# Modules of the public names.
_HOMES = {
    "NaturalSpeech2Pipeline": "pipelines.pipeline_naturalspeech2",
    "NaturalSpeech2UnconditionalPipeline": "pipelines.pipeline_naturalspeech2_unconditional",
    "NaturalSpeech2PipelineOutput": "pipelines.pipeline_output",
    "OnnxNaturalSpeech2Pipeline": "onnx.pipeline",
    "Voice": "pipelines.voice",
    "bundled": "pipelines.bundled",
    "fastest_dtype": "pipelines.precision",
    "sing": "pipelines.singing",
    "named_voices": "pipelines.named_voices",
    "PhonemeEncoder": "models.phoneme_encoder",
    "SpeechPromptEncoder": "models.speech_prompt_encoder",
    "VarianceAdaptor": "models.variance_adaptor",
    "WaveNetDenoiser": "models.wavenet_denoiser",
    "TransformerDenoiser": "models.transformer_denoiser",
    "PhonemeAligner": "models.phoneme_aligner",
    "EncodecCodec": "models.codecs.encodec_codec",
    "VocosCodec": "models.codecs.vocos_codec",
    "load_codec": "models.codecs.loading",
    "ResidualVectorQuantizer": "models.codecs.residual_vector_quantizer",
    "NaturalSpeech2DDPMScheduler": "schedulers.scheduling_ddpm",
    "NaturalSpeech2DDIMScheduler": "schedulers.scheduling_ddim",
    "NaturalSpeech2EulerScheduler": "schedulers.scheduling_euler",
    "NaturalSpeech2DDIMInverseScheduler": "schedulers.scheduling_ddim_inverse",
    "NaturalSpeech2EulerInverseScheduler": "schedulers.scheduling_euler_inverse",
    "NaturalSpeech2DistilledScheduler": "schedulers.scheduling_distilled",
    "NaturalSpeech2Tokenizer": "text.tokenizer",
}
# diffusers' loader looks for these base classes on the top-level package of a component.
_BASES = {
    "ModelMixin": "diffusers.models.modeling_utils",
    "SchedulerMixin": "diffusers.schedulers.scheduling_utils",
    "DiffusionPipeline": "diffusers",
    "PreTrainedTokenizer": "transformers",
}

__all__ = ["__version__", *_HOMES]


register_pipelines()


def __getattr__(name: str) -> Any:
    if name in _HOMES or name in _BASES:
        home = f"{__name__}.{_HOMES[name]}" if name in _HOMES else _BASES[name]
        with deferring():
            value = getattr(importlib.import_module(home), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
