"""A real browser without a window, for tests of pages: Chromium through chromedriver."""

import base64
import io
import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    pass

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
CHROMEDRIVER = shutil.which("chromedriver")
MISSING = " and ".join(
    name
    for name, there in (("Chromium", CHROMIUM), ("chromedriver", CHROMEDRIVER), ("selenium", find_spec("selenium")))
    if not there
)
"""Returns what a browser needs and this machine lacks; "" if nothing is missing."""

UP, DOWN, LEFT, RIGHT, HOME, END = "\ue013", "\ue015", "\ue012", "\ue014", "\ue011", "\ue010"
"""WebDriver's codes of keys."""

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)


class Browser:
    """A browser that shows one page."""

    def __init__(self, profile: Path) -> None:
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService

        options = ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver: Chrome = Chrome(options=options, service=ChromeService(str(CHROMEDRIVER)))
        self.driver.set_script_timeout(60)
        self.driver.get("about:blank")

    def open(self, page: Path, width: int = 1000, height: int = 900, **media: str) -> None:
        """Opens a page in a window of a size, such as with prefers_color_scheme="dark", and waits for its first frame."""
        self.errors(), self.requests()  # drops those of the page before
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(page.as_uri())
        self.settle()

    def settle(self) -> None:
        """Waits until requested pictures are decoded and drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "Promise.all([...document.images].map((image) => image.decode().catch(() => {})))"
            ".then(() => requestAnimationFrame(() => requestAnimationFrame(done)));"
        )

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self, id: str) -> str:
        return str(self.run("return document.getElementById(arguments[0]).innerText", id))

    def press(self, *keys: str) -> None:
        """Presses keys like a person who has not clicked anywhere."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()
        self.settle()

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()
        self.settle()

    def box(self, selector: str) -> dict[str, float]:
        script = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
        return dict(self.run(script, selector))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drags the mouse from one point of the window to another."""
        for kind, (x, y) in (("mousePressed", start), ("mouseMoved", end), ("mouseReleased", end)):
            event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "clickCount": 1}
            self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        self.settle()

    def touch(self, *moves: list[tuple[float, float]]) -> None:
        """Touches the window with fingers: each list has the points of all fingers at one moment."""
        for kind, points in zip(["touchStart", *["touchMove"] * (len(moves) - 1), "touchEnd"], [*moves, []], strict=True):
            event = {"type": kind, "touchPoints": [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)
        self.settle()

    def picture(self, selector: str) -> NDArray[np.uint8]:
        """Returns a screenshot of an element, (height, width, 3)."""
        box = self.box(selector)
        clip = {"x": box["x"], "y": box["y"], "width": box["width"], "height": box["height"], "scale": 1}
        content = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))

    def errors(self) -> list[str]:
        """Returns new messages of the console: errors, warnings, violations of the content security policy."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Returns the addresses that the page has requested since it was opened, without the browser's own start page."""
        page = self.driver.current_url
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [request["request"]["url"] for request in sent if request["documentURL"] == page]
