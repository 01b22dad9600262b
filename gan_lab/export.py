"""Export: ``python -m gan_lab.export run=outputs/2026-01-01/12-00-00 out=generator.onnx``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from gan_lab.config import hydra_main, run_command


@hydra_main("export")
def export(cfg: DictConfig) -> None:
    """Write the generator of a run to a file or a folder, by the ending of ``out``."""
    from gan_lab.exporting.formats import FORMATS, find_format, written_files
    from gan_lab.exporting.hub_folder import push
    from gan_lab.runs.run import Run

    out = Path(cfg.out).expanduser()
    write = find_format(out)
    if cfg.push is not None and write is not FORMATS[""]:
        raise ValueError(f"push={cfg.push}: uploads a folder; choose out= without an ending")
    for path in written_files(out):
        if (path.is_file() or (path.is_dir() and any(path.iterdir()))) and not cfg.overwrite:
            raise ValueError(f"{path} exists already: choose another out=, or overwrite=true")
    run = Run.open(cfg.run, cfg.checkpoint)
    print(f"{out}: {write(run, out)}")
    if cfg.push is not None:
        print(push(out, cfg.push))


def main() -> None:
    run_command(export, "export")


if __name__ == "__main__":
    main()
