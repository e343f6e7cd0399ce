"""The differences of words between panes of the playground, and the badge of equal answers."""

from playwright.sync_api import Page, expect

from millm_site.tests.browser.test_playground import answered, answers, choose, playground, send, text

__all__ = ["playground"]  # the fixture


COMPARED: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("", "", []),
    ("the sea", "the sea", [("same", "the sea")]),
    ("", "the sea", [("added", "the sea")]),
    ("the sea", "", [("removed", "the sea")]),
    ("a calm sea.", "a wild sea.", [("same", "a"), ("removed", " calm"), ("added", " wild"), ("same", " sea.")]),
    ("a b c d", "b c d e", [("removed", "a b"), ("added", "b"), ("same", " c d"), ("added", " e")]),
    ("one  two", "one two", [("same", "one"), ("removed", "  two"), ("added", " two")]),
    ("我爱大海", "我爱音乐", [("same", "我爱"), ("removed", "大海"), ("added", "音乐")]),
]


def test_words_are_compared_in_their_order(playground: Page) -> None:
    for before, after, parts in COMPARED:
        found = playground.evaluate("(texts) => millm.diffWords(...texts)", [before, after])
        assert found == {"parts": [{"kind": kind, "text": part} for kind, part in parts], "isWhole": True}


def test_long_texts_are_compared_within_a_bound(playground: Page) -> None:
    compare = """() => {
      const many = (word) => Array.from({ length: 3000 }, (_, at) => `${word}${at}`).join(" ");
      const { parts, isWhole } = millm.diffWords(`Same. ${many("a")} end.`, `Same. ${many("b")} end.`);
      return [isWhole, parts.map(({ kind }) => kind)];
    }"""
    assert playground.evaluate(compare) == [False, ["same", "removed", "added", "same"]]


def test_words_that_differ_from_the_first_pane_are_marked(playground: Page) -> None:
    choose(playground, "second", "ocean")
    send(playground)
    answered(playground, 2)
    said = {pane: text(playground, pane) for pane in ("first", "second")}
    playground.get_by_label("Show").select_option("differences of words")
    marked = answers(playground, "second").locator(".playground-text")
    expect(marked.locator("ins").first).to_be_visible()
    parts = {
        kind: "".join(marked.locator(f":scope > :not({other})").all_text_contents())
        for kind, other in (("first", "ins"), ("second", "del"))
    }
    assert parts == said
    expect(answers(playground, "first").locator("ins, del")).to_have_count(0)
    expect(answers(playground, "first")).to_contain_text("The other panes are compared with this one.")
    playground.get_by_label("Compare with").select_option("the second pane")
    expect(answers(playground, "first").locator("ins").first).to_be_visible()
    expect(marked.locator("ins, del")).to_have_count(0)
    playground.reload()
    expect(answers(playground, "first").locator("ins").first).to_be_visible()
    playground.get_by_label("Show").select_option("answers")
    assert text(playground, "second") == said["second"]


def test_equal_answers_have_a_badge(playground: Page) -> None:
    choose(playground, "second", "ocean")
    send(playground)
    answered(playground, 2)
    badge = answers(playground, "second").get_by_text("same answer as the first pane")
    expect(badge).to_be_hidden()
    choose(playground, "second", "Unsteered")
    answers(playground, "second").get_by_role("button", name="Regenerate this answer").click()
    answered(playground, 2)
    expect(badge).to_be_visible()
    expect(answers(playground, "first").get_by_text("same answer")).to_be_hidden()
    playground.get_by_label("Compare with").select_option("the second pane")
    expect(answers(playground, "first").get_by_text("same answer as the second pane")).to_be_visible()
    expect(badge).to_be_hidden()
