"""Translation: loss of real tokens only, exact evaluation, batches of the translator."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from netzoo.errors import UserError
from netzoo.layers import ENDPOINTS
from netzoo.tasks import create_task, evaluation_task
from netzoo.tasks.translation import batches
from netzoo.tasks.translation.figures import MOST_PIECES
from netzoo.tasks.translation.task import VOCABULARY_FILE, _write_table
from netzoo.tasks.translation.translator import Hypothesis, Translator
from netzoo.tasks.translation.vocabulary import END, PAD, START
from netzoo.training.evaluation import evaluate
from tests.conftest import slow, tiny_translation_config


@pytest.fixture(scope="module")
def task():
    """The task, without dropout."""
    config = tiny_translation_config()
    config.model.dropout_rate = 0.0
    return create_task(config)


@pytest.fixture(scope="module")
def variables(task):
    """Initial variables."""
    return jax.jit(task.init)(jax.random.key(0))


def test_evaluation_takes_the_vocabulary_and_no_training_text(task, tmp_path, monkeypatch):
    """Protects evaluation on another machine with other devices."""
    config = tiny_translation_config()
    config.data.train_split, config.train.grad_accum_steps = "no such split", 4
    with pytest.raises(UserError, match=VOCABULARY_FILE):
        evaluation_task(config, tmp_path)
    task.save(tmp_path)
    found = evaluation_task(config, tmp_path)
    assert len(found.vocabulary) == len(task.vocabulary)
    assert found.batch_sizes() == {"data.row_multiple / train.grad_accum_steps": 2}
    assert found.batch_sizes(training=False) == {"data.row_multiple": 8}
    config.data.source = "parallel:somewhere.{en,zh}"
    assert evaluation_task(config, tmp_path).bleu_tokenizer == "zh"
    config.evaluation.bleu_tokenizer = "intl"
    assert evaluation_task(config, tmp_path).bleu_tokenizer == "intl"
    config.evaluation.bleu_tokenizer = "ko-mecab"
    monkeypatch.setitem(sys.modules, "mecab_ko", None)
    with pytest.raises(UserError, match="ko-mecab"):
        evaluation_task(config, tmp_path)


def test_loss_is_the_mean_over_real_tokens(task, variables):
    """Protects the normalisation: padding, within rows and as rows, does not affect the mean.

    The reference is optax on one-hot targets, sentence by sentence. The tolerance of 1e-5 allows
    for another order of float32 sums.
    """
    batch = next(task.train_iterator())
    loss, _, metrics = jax.jit(task.loss)(variables, batch, jax.random.key(1))
    total, right, count = 0.0, 0, 0
    apply = jax.jit(lambda *inputs: task.model.apply(variables, *inputs, train=False))
    rows = apply(batch["source"], batch["target"][:, :-1])
    for logits, target in zip(np.asarray(rows), batch["target"], strict=True):
        target = target[target != PAD]
        if not target.size:
            continue
        logits = logits[: len(target) - 1]
        smooth = optax.smooth_labels(jax.nn.one_hot(target[1:], logits.shape[-1]), 0.1)
        total += float(optax.softmax_cross_entropy(logits, smooth).sum())
        right += int((logits.argmax(-1) == target[1:]).sum())
        count += len(target) - 1
    assert count == task.count(batch)
    np.testing.assert_allclose(loss, total / count, rtol=1e-5)
    np.testing.assert_allclose(metrics["token_accuracy"], right / count, rtol=1e-6)


def test_parts_of_a_batch_average_to_the_whole(task, variables):
    """Protects accumulation: however many tokens each part has, their mean is the batch's.

    The tolerance of 1e-5 allows for another order of float32 sums.
    """
    batch = next(task.train_iterator())
    loss = jax.jit(lambda batch: task.loss(variables, batch, jax.random.key(1))[0])
    halves = [jax.tree.map(lambda x, start=start: x[start::2], batch) for start in (0, 1)]
    np.testing.assert_allclose(np.mean([loss(half) for half in halves]), loss(batch), rtol=1e-5)


@pytest.mark.parametrize("tokens", [slow(8), slow(64)])
def test_batch_size_changes_no_count(tokens, variables, task):
    """Protects exact evaluation: every pair once, whatever the batches.

    The relative tolerance of 1e-5 allows for another order of float32 sums in the loss.
    """
    config = tiny_translation_config()
    config.evaluation.batch_size = tokens
    config.data.row_multiple = 1
    config.model.dropout_rate = 0.0
    results = [
        evaluate(jax.jit(t.evaluation_sums), variables, t.evaluation_batches("test[:11]"))
        for t in (create_task(config), task)
    ]
    for name in ("count", "tokens", "correct"):
        assert results[0][name] == results[1][name], name
    assert results[0]["count"] == 11
    np.testing.assert_allclose(results[0]["loss_sum"], results[1]["loss_sum"], rtol=1e-5)


def test_threads_are_those_of_the_configuration(task, monkeypatch):
    """Protects machines with few cores: only the configured number of threads starts."""
    seen = []
    monkeypatch.setattr(batches, "in_threads", lambda _, threads: seen.append(threads) or [])
    config = tiny_translation_config()
    config.data.num_threads = 3
    changed = create_task(config)
    for one in (changed, task):
        one.train_iterator()
        iter(one.evaluation_batches("test[:4]"))
    assert seen == [3, 3, 2, 2]


def test_the_vocabulary_is_that_of_the_run(task, tmp_path):
    """Protects weights from another vocabulary: the saved vocabulary is used, not a new one."""
    task.save(tmp_path)
    config = tiny_translation_config()
    config.data.train_split = "train[50:90]"
    text = "nine hundred twelve"
    expected = task.vocabulary.encode(text)
    assert create_task(config).vocabulary.encode(text) != expected, "else nothing is shown"
    assert create_task(config, tmp_path).vocabulary.encode(text) == expected
    config.data.vocabulary = str(tmp_path / VOCABULARY_FILE)
    assert create_task(config).vocabulary.encode(text) == expected


def test_weights_bring_their_vocabulary(task, tmp_path):
    """Protects fine-tuning from weights whose tokens mean something else."""
    config = tiny_translation_config()
    config.data.train_split = "train[50:90]"
    config.init.weights = str(tmp_path)
    (tmp_path / "checkpoints").mkdir()  # as a run has
    with pytest.raises(UserError, match=r"vocabulary\.model: .*\n.*data\.vocabulary"):
        create_task(config)
    task.save(tmp_path)
    text = "nine hundred twelve"
    assert create_task(config).vocabulary.encode(text) == task.vocabulary.encode(text)


@pytest.fixture(scope="module")
def translator(task, variables):
    """A translator with small batches."""
    config = tiny_translation_config()
    config.evaluation.batch_size = 64
    config.evaluation.beam_size = 2
    return Translator(config, task.model, variables, task.vocabulary)


SENTENCES = [
    "7",
    "four hundred thousand six hundred ninety-three",
    "",
    *map(str, range(100, 130)),
    "one " * 40,
]


@pytest.mark.parametrize("name", ["default", "highest"])
def test_translations_have_the_precision_of_the_run(name, task, variables):
    """Protects translations on a TPU, which would otherwise differ from the training."""
    config = tiny_translation_config()
    config.matmul_precision = name
    translator = Translator(config, task.model, variables, task.vocabulary)
    tokens = jnp.zeros((1, 8), jnp.int32)
    program = str(translator._endpoints.trace(variables, tokens, tokens).jaxpr)
    assert ("precision=(Precision.HIGHEST" in program) == (name == "highest")


def test_every_sentence_is_in_one_batch(translator):
    """Protects the order of answers, long and empty sentences, and the number of shapes."""
    batches = translator.batches(SENTENCES)
    indices = sorted(index for part, _ in batches for index in part)
    assert indices == list(range(len(SENTENCES)))
    lengths = [tokens.shape[1] for _, tokens in batches]
    assert set(lengths) >= {8, 16}
    assert all(length in (8, 16) or length % 16 == 0 for length in lengths)
    for indices, tokens in batches:
        rows, length = tokens.shape
        assert rows & (rows - 1) == 0, "powers of two, so that there are few shapes"
        assert rows == 1 or rows * length * 2 <= 64
        assert not tokens[len(indices) :].any()


def test_translations_are_texts_with_scores_best_first(translator):
    """Protects predict: one hypothesis per beam, ended hypotheses first."""
    found, seconds = translator.translate(SENTENCES[:2], "")
    assert len(found) == 2
    assert seconds > 0
    for row in found:
        assert len(row) == 2
        order = [(hypothesis.tokens[-1] == END, hypothesis.score) for hypothesis in row]
        assert order == sorted(order, reverse=True)


def test_attention_is_that_of_the_sentence_alone(translator, task, variables):
    """Protects the figure from padding, which saves compilations: one program, equal weights.

    The tolerance of 1e-5 allows for the order of float32 sums, which padding changes.
    """
    sentences = [SENTENCES[1], "12", "one hundred"]
    hypotheses = [
        Hypothesis("", 0.0, (*task.vocabulary.encode(text), END))
        for text in ("400693", "twelve", "5")
    ]
    examples = translator.attention(sentences, hypotheses, 2)
    assert len(examples) == 2
    for text, hypothesis, (pieces, target_pieces, weights) in zip(
        sentences, hypotheses, examples, strict=False
    ):
        source = [*task.vocabulary.encode(text), END]
        target = [START, *hypothesis.tokens[:-1]]
        assert pieces == task.vocabulary.pieces(source)
        assert target_pieces == task.vocabulary.pieces(hypothesis.tokens)
        alone = jax.jit(lambda *x: task.model.apply(*x, train=False, mutable=[ENDPOINTS])[1])
        kept = alone(variables, jnp.array([source]), jnp.array([target]))
        expected = kept[ENDPOINTS]["decoder/block1/cross_attention_weights"][0].mean(0)
        np.testing.assert_allclose(weights, expected, rtol=1e-5)
        *_, heads = translator.attention_heads(text, hypothesis)
        own = kept[ENDPOINTS]["decoder/block1/cross_attention_weights"][0]
        np.testing.assert_allclose(heads, own, rtol=1e-5)
    before = translator._endpoints._cache_size()
    translator.attention(["7", "999", "20 30"], hypotheses, 3)
    assert translator._endpoints._cache_size() <= before + 1


def test_what_is_too_long_is_not_drawn(translator, task):
    """Protects reports from a very long sentence on either side; the limit includes the end."""
    eights = "8 " * MOST_PIECES
    while len(task.vocabulary.encode(eights)) >= MOST_PIECES:
        longer, eights = eights, eights[:-2]
    for sentence, length, drawn in (
        ("7", MOST_PIECES, 1),
        ("7", MOST_PIECES + 1, 0),
        (eights, 1, 1),
        (longer, 1, 0),
    ):
        found = translator.attention([sentence], [Hypothesis("", 0.0, (5,) * length)], 9)
        assert len(found) == drawn, (len(sentence), length)


@pytest.mark.slow
def test_weights_that_are_not_finite_are_an_error(task, variables):
    """Protects the output, in which no line may be missing."""
    broken = jax.tree.map(lambda x: jnp.full_like(x, np.nan), variables)
    translator = Translator(tiny_translation_config(), task.model, broken, task.vocabulary)
    with pytest.raises(UserError, match="probabilities are not finite"):
        translator.translate(["7"], "")


def test_a_report_shows_what_is_not_finite(task, capsys):
    """Protects the scores: JSON has no infinity, so a loss may be None."""
    none = dict.fromkeys(["loss", "perplexity"])
    numbers = dict.fromkeys(
        ["bleu", "bleu_lowercased", "chrf", "exact_match", "token_accuracy", "count"], 0
    )
    rest = {"bleu_interval": [0, 0], "bleu_signature": "", "split": "", "sentences_per_second": 1}
    task.show(none | numbers | rest)
    assert "loss not finite, perplexity not finite" in capsys.readouterr().out


def test_the_table_has_texts_and_nothing_else(tmp_path):
    """Protects scores by other tools: a column of the table holds the exact lines of text."""
    rows = [('say "so"', '"', "a\tb\r\nc"), ("Ä", "", " x")]
    (tmp_path / "mine").write_text("text")
    (tmp_path / "t.tsv").symlink_to(tmp_path / "mine")  # replaced, not followed
    _write_table(tmp_path / "t.tsv", ("a", "b", "c"), rows)
    assert (tmp_path / "mine").read_text() == "text"
    assert (tmp_path / "t.tsv").read_bytes().decode() == ('a\tb\tc\nsay "so"\t"\ta b  c\nÄ\t\t x\n')


def test_a_blank_sentence_stays_blank(translator):
    """Protects files with empty lines: they stay empty and are not drawn."""
    found, _ = translator.translate(["", " \t", "7"], "")
    assert found[0] == found[1] == [("", 0.0, ())]
    best = [row[0] for row in found]
    assert best[2].tokens
    assert len(translator.attention(["", " \t", "7"], best, 9)) == 1
    assert not translator.attention(["", " \t", "7"], best, 0)


def test_padding_changes_no_translation(translator):
    """Protects batched prediction: alone or among longer ones, the same text."""
    together, _ = translator.translate(["7", "12", "999 999"], "")
    [alone], _ = translator.translate(["12"], "")
    assert alone[0].text == together[1][0].text
    np.testing.assert_allclose(alone[0].score, together[1][0].score, rtol=1e-5)


def test_a_mask_of_weights_keeps_padding_rows_out(task, variables):
    """Protects the last batch of a bucket: the contents of its padding rows do not matter."""
    batch = next(b for b in task.evaluation_batches("test[:11]") if not b["mask"].all())
    sums = jax.jit(task.evaluation_sums)
    other = dict(batch)
    other["source"] = jnp.where(batch["mask"][:, None], batch["source"], 5)
    for a, b in zip(
        jax.tree.leaves(sums(variables, batch)),
        jax.tree.leaves(sums(variables, other)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
