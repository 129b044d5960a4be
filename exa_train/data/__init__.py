"""Text in, token shards out, and back: what a run learns from.

Preparing (``python -m exa_train.data prepare``): ``inputs`` finds the sources, ``documents``
reads them, ``cut`` makes pieces of one that is alone, ``split`` sets documents aside,
``tokenizer`` learns and applies the vocabulary, ``parts`` tokenises in restartable pieces,
``shards`` writes HDF5, ``manifest`` seals it; ``prepare`` puts them in order. Using: ``reader``
(windows), ``order`` (which window when) and ``baselines`` (what a model must beat). Nothing
here imports torch.
"""
