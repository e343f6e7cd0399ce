"""The dashboard in the browser: the switch by keyboard and by pointer, updates by themselves, the charts."""

from playwright.sync_api import Page, expect

from inference.tests.conftest import Server
from millm_site.tests.browser.conftest import Watched
from profiles.models import Profile
from steering.models import SteeringState

ANSWERED = "Chart.getChart(document.querySelector('[data-chart=requests] canvas'))?.data.datasets[0].data"


def test_a_profile_is_activated_by_the_switch_and_the_page_follows_when_somebody_deactivates_it(page: Page) -> None:
    shown = page.locator("#dashboard-active")
    expect(shown).to_contain_text("No profile is active.")
    choice = page.get_by_role("combobox", name="Activate a profile")
    choice.press_sequentially("oce")
    option = page.get_by_role("option")
    expect(option).to_have_text(["ocean"])
    choice.press("ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    choice.press("Enter")
    expect(choice).to_have_value("ocean")
    choice.press("Enter")
    expect(shown.get_by_role("link", name="ocean")).to_be_visible()
    expect(choice).to_have_value("")
    ocean = Profile.objects.get(name="ocean")
    assert Profile.objects.active() == ocean
    expect(page.locator("#dashboard-steering")).to_contain_text("as set by profile ocean")
    expect(page.locator("#dashboard-versions")).to_contain_text("profile ocean was activated")

    # Somebody else is at work, while a name is being typed here.
    choice.press_sequentially("mus")
    expect(option).to_have_text(["music"])
    SteeringState.objects.load().set_features({next(iter(ocean.strengths)): 1.5})
    expect(shown).to_contain_text("The live steering was changed by hand since")
    ocean.deactivate()
    expect(shown).to_contain_text("No profile is active.")
    expect(option).to_have_text(["music"])
    expect(choice).to_be_focused()
    expect(choice).to_have_value("mus")
    option.click()
    page.get_by_role("button", name="Activate", exact=True).click()
    expect(shown.get_by_role("link", name="music")).to_be_visible()
    page.get_by_role("button", name="Deactivate").click()
    expect(shown).to_contain_text("No profile is active.")
    assert Profile.objects.active() is None


def test_a_refused_profile_is_told_beside_the_field_and_keeps_what_was_typed(page: Page) -> None:
    Profile.objects.filter(name="winter").update(layer=0)
    choice = page.get_by_role("combobox", name="Activate a profile")
    choice.fill("winter")
    expect(page.get_by_text("No profile that fits has this text in its name.")).to_be_visible()
    choice.press("Enter")
    refusal = page.locator("#dashboard-refusal")
    expect(refusal).to_have_text("winter does not fit. The attached SAE is at layer 1, and it is for layer 0.")
    expect(choice).to_have_value("winter")
    choice.press_sequentially("!")
    expect(refusal).to_have_text("")
    assert Profile.objects.active() is None


def test_the_requests_chart_counts_a_chat(page: Page, server: Server, api_key: str) -> None:
    page.wait_for_function(ANSWERED)
    counted = f"{ANSWERED}.reduce((sum, one) => sum + one, 0)"  # a minute may end meanwhile
    before = page.evaluate(counted)
    canvas = page.locator("[data-chart=requests] canvas").element_handle()
    with server.openai(api_key) as client:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "Hello."}], max_tokens=5)
    page.wait_for_function(f"{counted} === {before + 1}")
    expect(page.locator("#dashboard-requests")).to_contain_text("in the last hour")
    assert canvas.evaluate("one => one.isConnected")  # drawn anew, not made anew


def test_a_page_that_is_not_up_to_date_says_so_and_catches_up(page: Page, watched: Watched) -> None:
    note = page.locator("#dashboard-stale")
    page.route("**/admin/dashboard/parts", lambda route: route.abort())
    expect(note).to_contain_text("the server does not answer")
    Profile.objects.get(name="ocean").activate()
    page.unroute("**/admin/dashboard/parts")
    expect(page.locator("#dashboard-active")).to_contain_text("ocean")
    expect(note).to_be_hidden()
    assert watched.errors
    watched.errors.clear()  # the browser's, of the requests that did not reach the server
    page.context.clear_cookies()
    expect(note).to_contain_text("you are logged out")
    expect(note.get_by_role("link", name="Reload the page")).to_be_visible()


def test_it_fits_a_phone(page: Page) -> None:
    Profile.objects.get(name="ocean").activate()
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    expect(page.locator("#dashboard-active")).to_contain_text("ocean")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_enter_takes_the_offered_profile_before_the_list_is_there(page: Page) -> None:
    choice = page.get_by_role("combobox", name="Activate a profile")
    choice.press_sequentially("oce")
    choice.press("Enter")
    expect(choice).to_have_value("ocean")
    assert Profile.objects.active() is None
    choice.press("Enter")
    expect(page.locator("#dashboard-active").get_by_role("link", name="ocean")).to_be_visible()
