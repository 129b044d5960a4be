"""Preparing a corpus, step by step: scan, split, learn, tokenise, write, seal.

Everything unfinished lies in ``DIR/.work``; the manifest comes last. Killed at any instant, it
can be run again: what is finished is found by the hash of what it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import sentencepiece

from exa_cli import __version__
from exa_cli.base import clock, files, talk
from exa_cli.base.errors import Invalid
from exa_train.data import cut, lock, manifest, parts, shards, space, split, tokenizer
from exa_train.data.corpus import Corpus, scan_corpus, texts
from exa_train.data.documents import DocumentReader
from exa_train.data.manifest import Manifest, Split
from exa_train.data.progress import Progress, megabytes
from exa_train.data.request import Request, check, content_options
from exa_train.data.tokenizer import Tokenizer
from exa_train.data.workers import ordered_map

WORK = ".work"
TOKENIZER = "tokenizer.model"
_PROBE_BYTES = 1 << 18


@dataclass(frozen=True)
class Outcome:
    """A prepared directory; ``reused`` when it was complete before."""

    manifest: Manifest
    reused: bool
    seconds: float


def prepare(request: Request) -> Outcome:
    """Prepare a corpus, or find that it is prepared.

    Raises:
        Invalid: the request or its text cannot be used; the directory holds something else;
            no space. Damaged: a manifest or part on disk is not what was written.
        Unreachable: another process prepares the same directory; the file system failed.
        RunFailed: a worker was killed.
    """
    begin = clock.monotonic()
    check(request)
    given = _given_tokenizer(request)
    corpus = scan_corpus(request)
    key = inputs_key(request, corpus, given)
    with _held(request.out):
        done = _prepared(request.out, key)
        result = done or _make(request, corpus, given, key)
        shutil.rmtree(request.out / WORK, ignore_errors=True)
    return Outcome(result, done is not None, clock.monotonic() - begin)


def _given_tokenizer(request: Request) -> Tokenizer | None:
    if request.tokenizer is None:
        return None
    given = tokenizer.load(request.tokenizer)
    if request.vocab not in (None, given.vocab):
        raise Invalid(
            f"the tokenizer has {given.vocab} tokens, not {request.vocab}",
            where=str(request.tokenizer),
            hint=f"leave --vocab out, or give --vocab {given.vocab}",
        )
    if not given.lossless:
        talk.warn(f"{request.tokenizer} rewrites text: it does not decode to exactly its source")
    return given


def inputs_key(request: Request, corpus: Corpus, given: Tokenizer | None) -> str:
    """32 hex digits that name the inputs' content and the options, whatever the files' names."""
    formats = [manifest.SCHEMA, parts.FORMAT, tokenizer.FORMAT]
    formats += [cut.FORMAT] if corpus.pieces else []
    options = content_options(request, given.vocab if given else None)
    sources = [(source.source.form, source.xxh3_128) for source in corpus.scanned]
    text = json.dumps([formats, options, given.sha256 if given else None, sources])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextlib.contextmanager
def _held(out: Path) -> Iterator[None]:
    """Create the directory and keep other processes out; an empty one does not stay behind."""
    try:
        with space.guarded(out, space.SLACK), lock.only_one(out):
            try:
                yield
            finally:
                _remove_empty(out / WORK / "parts", out / WORK)
    finally:
        _remove_empty(out)


def _remove_empty(*directories: Path) -> None:
    for path in directories:
        with contextlib.suppress(OSError):  # not empty: something of worth is in there
            path.rmdir()


def _prepared(out: Path, key: str) -> Manifest | None:
    """The finished manifest of the same request, or None when there is work to do."""
    if (out / manifest.NAME).exists():
        found = manifest.load_manifest(out)
        if found.inputs_key != key:
            raise Invalid(
                "the directory holds data prepared from other inputs or options",
                where=str(out),
                hint="choose another directory, or delete this one first",
            )
        if _complete(out, found):
            return found
        talk.warn(f"{out} lacks some of its files: they are made again")
        (out / manifest.NAME).unlink()
    elif not (out / WORK).exists() and (foreign := _outputs(out)):
        raise Invalid(
            "the directory holds files that preparing would overwrite",
            where=str(foreign[0]),
            hint="choose an empty directory",
        )
    return None


def _complete(out: Path, found: Manifest) -> bool:
    sizes = {shard.file: shard.bytes for shard in found.shards()}
    sizes[found.tokenizer.file] = found.tokenizer.bytes
    return all(
        (out / name).is_file() and (out / name).stat().st_size == size
        for name, size in sizes.items()
    )


def _outputs(out: Path) -> list[Path]:
    """Files under the names that preparing writes."""
    patterns = [f"{name}-*.h5" for name in manifest.SPLITS] + [TOKENIZER]
    return sorted(path for pattern in patterns for path in out.glob(pattern))


def _make(request: Request, corpus: Corpus, given: Tokenizer | None, key: str) -> Manifest:
    held = split.held_out(corpus.identities, request.held_out, request.seed)
    _make_work(request.out / WORK / "parts")
    used = given or _learn(request, corpus, held)
    made = _tokenise(request, corpus, held, used)
    splits = _write_splits(request, corpus, held, made, shards.dtype_for(used.vocab))
    result = _describe(request, corpus, given, used, splits, key)
    _publish(request.out, used, result)
    return result


def _make_work(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for unfinished in directory.glob(".*.tmp"):  # of a process that was killed
        unfinished.unlink(missing_ok=True)


def _learn(request: Request, corpus: Corpus, held: split.Mask) -> Tokenizer:
    """The tokenizer learnt from a sample of the training documents; kept for a restart."""
    assert request.vocab is not None  # check: without a given tokenizer there is a size
    allowed = np.flatnonzero(~held)
    chosen = allowed[
        split.sample(
            corpus.identities[allowed], corpus.sizes[allowed], request.sample_bytes, request.seed
        )
    ]
    digest = hashlib.sha256(corpus.identities[chosen].tobytes())
    digest.update(
        f"{tokenizer.FORMAT} {sentencepiece.__version__} {request.vocab} "
        f"{request.sample_bytes}".encode()
    )
    path = request.out / WORK / f"tokenizer-{digest.hexdigest()[:32]}.model"
    if path.exists():
        return tokenizer.load(path)
    begin = clock.monotonic()
    sample = texts(request, corpus, chosen)
    learnt = tokenizer.train(sample, request.vocab)
    files.write_bytes(path, learnt.model)
    size = int(corpus.sizes[chosen].sum())
    talk.say(
        f"tokenizer: {learnt.vocab:,} tokens learnt from {megabytes(size)} MB "
        f"in {clock.monotonic() - begin:.1f} s"
    )
    return learnt


def _tokenise(
    request: Request, corpus: Corpus, held: split.Mask, used: Tokenizer
) -> list[parts.Part]:
    model = request.out / WORK / f"tokenizer-{used.sha256}.model"
    files.write_bytes(model, used.model)
    dtype = shards.dtype_for(used.vocab)
    job = parts.Job(model, request.out / WORK / "parts", dtype, request.text_field)
    units = list(parts.plan_units(corpus.scanned, held, request.part_bytes))
    needed = _needed(request, units[0], corpus, used, job)
    space.check(request.out, needed)
    shown = Progress(total=corpus.bytes)
    workers = min(request.workers, len(units))
    made = []
    with space.guarded(request.out, needed):
        done = ordered_map(parts.make, units, workers=workers, setup=parts.set_up, arguments=(job,))
        try:
            for part in done:
                made.append(part)
                shown.add(part.bytes, part.train + part.heldout)
        finally:
            shown.close()
    reused = sum(part.reused for part in made)
    talk.say(shown.line() + (f"; {reused} of {len(made)} parts were done before" if reused else ""))
    return made


def _needed(
    request: Request, unit: parts.Unit, corpus: Corpus, used: Tokenizer, job: parts.Job
) -> int:
    """Bytes that parts and shards will take, from the tokens per byte of the first documents."""
    reader = DocumentReader(request.text_field)
    documents = (
        text for piece in unit.slices for text in reader.texts(piece.source, piece.documents)
    )
    text = tokens = 0
    while text < _PROBE_BYTES and (document := next(documents, None)) is not None:
        excerpt = document[: _PROBE_BYTES - text]
        text += len(excerpt.encode())
        tokens += len(used.encode(excerpt)) + 1
    reader.close()
    already = sum(path.stat().st_size for path in job.directory.glob("*.part"))
    estimate = int(corpus.bytes * tokens / text * 1.1)
    return space.needed_for(estimate, np.dtype(job.dtype).itemsize, already)


def _write_splits(
    request: Request, corpus: Corpus, held: split.Mask, made: list[parts.Part], dtype: str
) -> dict[str, Split]:
    work = request.out / WORK / "shards"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    totals = {name: sum(getattr(part, name) for part in made) for name in manifest.SPLITS}
    needed = sum(totals.values()) * np.dtype(dtype).itemsize + space.SLACK
    space.check(request.out, needed)
    splits = {}
    try:
        with space.guarded(request.out, needed):
            for name, mask in zip(manifest.SPLITS, (~held, held), strict=True):
                blocks = (parts.read_part(part, name, dtype) for part in made)
                sizes = shards.shard_sizes(totals[name], request.shard_tokens)
                written = shards.write_shards(name, blocks, sizes, dtype, work)
                text = int(corpus.sizes[mask].sum())
                splits[name] = Split(int(mask.sum()), totals[name], text, tuple(written))
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)  # a full disk is not helped by half a shard
        raise
    return splits


def _describe(
    request: Request,
    corpus: Corpus,
    given: Tokenizer | None,
    used: Tokenizer,
    splits: dict[str, Split],
    key: str,
) -> Manifest:
    return Manifest(
        data_id=manifest.data_id(used.sha256, splits),
        inputs_key=key,
        inputs=request.inputs,
        vocab=used.vocab,
        dtype=shards.dtype_for(used.vocab),
        eos=used.eos,
        special=used.special,
        tokenizer=manifest.TokenizerFile(
            TOKENIZER, len(used.model), used.sha256, given is None, used.lossless
        ),
        options=content_options(request, given.vocab if given else None),
        splits=splits,
        sources=tuple(
            manifest.SourceFile(s.source.name, s.bytes, s.xxh3_128, len(s.documents))
            for s in corpus.scanned
        ),
        skipped=dict(sorted(corpus.skipped.items())),
        made_by={
            "exa": __version__,
            "python": platform.python_version(),
            "sentencepiece": sentencepiece.__version__,
            "h5py": h5py.__version__,
        },
        cut=manifest.Cut(corpus.pieces) if corpus.pieces else None,
    )


def _publish(out: Path, used: Tokenizer, result: Manifest) -> None:
    """Move the finished files into place; the manifest, last, makes them count."""
    with space.guarded(out, space.SLACK):
        unfinished = [*out.glob(f".{TOKENIZER}.*.tmp"), *out.glob(f".{manifest.NAME}.*.tmp")]
        for stale in [*_outputs(out), *unfinished]:
            stale.unlink()
        for shard in result.shards():
            os.replace(out / WORK / "shards" / shard.file, out / shard.file)
        files.write_bytes(out / TOKENIZER, used.model)
        files.fsync_dir(out)
        manifest.write_manifest(out, result)
