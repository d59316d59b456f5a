"""Variants on disk, each under the digest of its content.

`sha256/<hex>/` holds a variant's files and its manifest, `recipes/<hex>` the digest of what a
recipe gave. A variant is written aside, made durable and renamed, so that it is whole or absent.
"""

import os
import shutil
import time
from pathlib import Path
from uuid import uuid4

from infra.files import sync_folder, write_atomic
from release.digests import canonical
from release.errors import SlipwayError
from release.variants import Manifest, Variant
from serving.replica.verify import MANIFEST, read_manifest, verify

LEFTOVER_SECONDS = 86_400.0
"""What a killed builder left aside is swept after this."""


class Store:
    """A folder of variants, shared by every process of a host."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        """Where a variant of this content digest lies, or would."""
        return self._root / "sha256" / digest.removeprefix("sha256:")

    def manifest(self, digest: str) -> Manifest:
        """Read a variant's manifest.

        Raises:
            NotFound: the variant is not here.
            Unsafe: its manifest cannot be read.
        """
        return read_manifest(self.path(digest))

    def verify(self, digest: str) -> Manifest:
        """Hold every file of a variant against what was approved.

        Raises:
            NotFound: the variant is not here.
            Unsafe: something differs.
        """
        return verify(self.path(digest), digest)

    def find(self, recipe_digest: str) -> Variant | None:
        """Give what a recipe gave before; None where it was never built or is damaged."""
        try:
            digest = self._index(recipe_digest).read_text().strip()
            manifest = self.verify(digest)
        except (OSError, SlipwayError):
            return None
        return variant_of(manifest, self.path(digest))

    def aside(self) -> Path:
        """Make a folder in which a variant can be built."""
        place = self._root / "aside" / uuid4().hex
        place.mkdir(parents=True)
        self._sweep()
        return place

    def put(self, built: Path, manifest: Manifest) -> Variant:
        """Move a built folder into the store under its manifest's digest.

        Args:
            built: a folder that `aside` gave; gone afterwards.
            manifest: names every file of it.
        """
        (built / MANIFEST).write_bytes(canonical(manifest.as_json()))
        for path in built.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        sync_folder(built)
        place = self.path(manifest.digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._rename(built, place, manifest.digest)
        write_atomic(self._index(manifest.recipe_digest), manifest.digest.encode())
        return variant_of(manifest, place)

    def _rename(self, built: Path, place: Path, digest: str) -> None:
        try:
            built.rename(place)
        except OSError:
            # Somebody was first. The same digest is the same content, unless it was damaged since.
            try:
                verify(place, digest)
            except SlipwayError:
                shutil.rmtree(place)
                built.rename(place)
            else:
                shutil.rmtree(built)
        sync_folder(place.parent)

    def _index(self, recipe_digest: str) -> Path:
        return self._root / "recipes" / recipe_digest.removeprefix("sha256:")

    def _sweep(self) -> None:
        for left in (self._root / "aside").iterdir():
            if time.time() - left.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def variant_of(manifest: Manifest, folder: Path) -> Variant:
    """Name what lies in a folder."""
    model, _, version = manifest.candidate.partition("@")
    return Variant(
        model=model,
        version=int(version),
        recipe=manifest.recipe,
        digest=manifest.digest,
        size_bytes=sum((folder / name).stat().st_size for name in manifest.files),
    )
