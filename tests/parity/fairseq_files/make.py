"""Write a small checkpoint with fairseq itself, and what fairseq computes with it, for test_fairseq_itself.py.

The archives beside this file were made so, with torch 1.12.1 on Python 3.9:

    python make.py 0.8.0 OUT       fairseq 0.8.0 of August 2019, half precision, the file format of its day
    python make.py 0.9.0 OUT       fairseq 0.9.0 of December 2019, the same
    python make.py 0.12.2 OUT      fairseq 0.12.2, args
    python make.py 0.12.2-cfg OUT  fairseq 0.12.2, cfg as an object of OmegaConf

OUT holds dict.txt and vocab.bpe; model.pt and expected.json come beside them. `tar czf NAME.tar.gz -C OUT .` follows.
"""

import argparse
import collections
import json
import sys

import torch
from fairseq import meters
from fairseq.data import Dictionary
from fairseq.models.roberta import model as roberta

IDS = [0, 5, 17, 200, 99, 31, 280, 2]


def main(version, out):
    """Write OUT/model.pt and OUT/expected.json with the fairseq that is installed."""
    torch.manual_seed(3)
    dictionary = Dictionary.load(f"{out}/dict.txt")
    dictionary.add_symbol("<mask>")
    args = argparse.Namespace(
        arch="roberta_base", task="masked_lm", criterion="masked_lm", data="data", seed=1, lr=[1e-5],
        encoder_layers=2, encoder_embed_dim=16, encoder_ffn_embed_dim=24, encoder_attention_heads=4,
        max_positions=30, tokens_per_sample=30,
    )  # fmt: skip
    roberta.base_architecture(args)
    task = argparse.Namespace(source_dictionary=dictionary, dictionary=dictionary)
    model = roberta.RobertaModel.build_model(args, task)
    model.register_classification_head("mnli", num_classes=3)
    model.register_classification_head("race", num_classes=1)
    old = version in ("0.8.0", "0.9.0")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    if old:
        model.half().float()
    model.load_state_dict(model.state_dict())  # 0.12 copies the projections of its fast path when it loads
    model.eval()
    ids = torch.tensor([IDS])
    with torch.no_grad():
        expected = {"features": model(ids, features_only=True)[0], "lm": model(ids)[0]}
        for head in ("mnli", "race"):
            expected[head] = model(ids, features_only=True, classification_head_name=head)[0]
    with open(f"{out}/expected.json", "w") as file:
        json.dump({name: tensor[0].tolist() for name, tensor in expected.items()}, file)
    extra = {"train_iterator": {"epoch": 1}, "val_loss": 1.5}
    if old:
        extra["train_meters"] = collections.OrderedDict(
            train_loss=meters.AverageMeter(), wps=meters.TimeMeter(), train_wall=meters.StopwatchMeter()
        )
    state = (model.half() if old else model).state_dict()
    root = {"args": args, "model": state, "extra_state": extra}
    if version == "0.12.2-cfg":
        from fairseq.dataclass.utils import convert_namespace_to_omegaconf

        root.update(args=None, cfg=convert_namespace_to_omegaconf(args))
    torch.save(root, f"{out}/model.pt", _use_new_zipfile_serialization=not old)


if __name__ == "__main__":
    main(*sys.argv[1:])
