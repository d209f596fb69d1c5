"""Makes tests/fixtures/encoder: what `transformers` computes, for the encoder's tests to be held against.

    pip install torch transformers accelerate safetensors gguf tokenizers
    python training/parity_fixtures.py

1. `builtin.safetensors`: pooled hidden states of models/builtin/encoder.gguf (dequantised to float32 by transformers) for
   a few prompts given as token ids.
2. `tiny/`: a random Llama with everything Llama 3.1 added (grouped queries, stretched rotary frequencies, untied output),
   in bfloat16, in two shards, with a tokenizer that puts a beginning token first; and `tiny.safetensors`, its raw states.

States are taken by hooks right after each layer, before the final norm.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "fixtures" / "encoder"


def states(model, ids):
    """Raw states after each layer, [layer][token, width]; index 0 is the embeddings."""
    found = []
    hooks = [model.model.embed_tokens.register_forward_hook(lambda m, i, o: found.append(o[0].detach()))]
    for layer in model.model.layers:
        hooks.append(
            layer.register_forward_hook(lambda m, i, o: found.append((o[0] if isinstance(o, tuple) else o)[0].detach()))
        )
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    for hook in hooks:
        hook.remove()
    return [state if state.dim() == 2 else state[0] for state in found]


def pooled(state):
    """The mean of unit-length states without the first token's, and the last one's."""
    unit = state.float() / state.float().norm(dim=-1, keepdim=True)
    return unit[1:].mean(0), unit[-1]


def builtin():
    model = AutoModelForCausalLM.from_pretrained(
        ROOT / "models" / "builtin", gguf_file="encoder.gguf", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    generator = torch.Generator().manual_seed(7)
    tensors = {}
    for prompt, length in enumerate([2, 17, 64, 200]):
        ids = torch.randint(100, 25_000, (length,), generator=generator)
        tensors[f"{prompt}.ids"] = ids
        after = states(model, ids.tolist())
        for layer in [1, 4, 8]:
            tensors[f"{prompt}.{layer}.mean"], tensors[f"{prompt}.{layer}.last"] = pooled(after[layer])
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, OUT / "builtin.safetensors")


def tiny():
    torch.manual_seed(11)
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = LlamaConfig(
        vocab_size=259,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=512,
        rope_parameters=scaling,
        rope_scaling=scaling,
        rope_theta=10000.0,
        tie_word_embeddings=False,
        initializer_range=0.2,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    folder = OUT / "tiny"
    model.save_pretrained(folder, max_shard_size="100KB")
    for name in ["generation_config.json"]:
        (folder / name).unlink(missing_ok=True)
    # As Llama 3.1's own files write it, whatever this version of transformers prefers.
    written = json.loads((folder / "config.json").read_text())
    written.pop("rope_parameters", None)
    written["rope_theta"] = 10000.0
    written["rope_scaling"] = {key: value for key, value in scaling.items() if key != "rope_theta"}
    (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|begin|>": 0, **{letter: at + 1 for at, letter in enumerate(alphabet)}, "th": 257, "the": 258}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("th", "e")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", 0)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))

    # The reference is computed in float32 from the same bfloat16 weights; loaded anew, because converting the model back
    # would leave its rotary frequencies rounded to bfloat16.
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tensors = {}
    for prompt, text in enumerate(["the theory", "Which of the following is a prime number? " * 3]):
        ids = tokenizer.encode(text).ids
        tensors[f"{prompt}.ids"] = torch.tensor(ids)
        tensors[f"{prompt}.text"] = torch.tensor(list(text.encode()), dtype=torch.uint8)
        for layer, state in enumerate(states(model, ids)):
            tensors[f"{prompt}.{layer}"] = state.contiguous()
    save_file(tensors, OUT / "tiny.safetensors")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    tiny()
    builtin()
