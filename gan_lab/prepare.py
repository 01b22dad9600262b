"""Prepare: ``python -m gan_lab.prepare dataset=celeba dataset.size=64``; training does this by itself on first use."""

from __future__ import annotations

from omegaconf import DictConfig

from gan_lab.config import hydra_main, instantiate, run_command


@hydra_main("prepare")
def prepare(cfg: DictConfig) -> None:
    """Pack a dataset, verify the packed file, and with ``show=true`` print its statistics and write a contact sheet."""
    from gan_lab.data.inspection import Inspection
    from gan_lab.data.packing import describe_enlarged
    from gan_lab.utils.formatting import format_count
    from gan_lab.utils.terminal import progress_bar

    source = instantiate(cfg.dataset, "dataset")
    with progress_bar(f"preparing {source.name}", "images") as progress:
        data = source.load(progress)
    path = source.packed_path()
    if path.is_file():
        packed = source.packed()
        if packed.checksum() != packed.manifest["crc32"]:
            raise ValueError(f"{path} is damaged: its checksum differs. Remove it; the next command prepares it again")
        print(f"{path}: {format_count(len(packed.pixels), 'image')}, {path.stat().st_size / 2**20:,.1f} MiB, checksum correct")
    print(f"{source.name}: {format_count(len(data), 'image')} {data.format_size()} selected")
    if data.enlarged:
        print(describe_enlarged(data.enlarged, len(data.pixels), source.image_format.size))
    if cfg.show:
        with progress_bar("inspecting", "images") as progress:
            inspection = Inspection.of(source, data, progress)
        inspection.print()
        print(inspection.save_sheet(cfg.sheet or path.with_suffix(".png")))


def main() -> None:
    run_command(prepare, "prepare")


if __name__ == "__main__":
    main()
