"""What a scan heard, as a file to be downloaded while its dialog is open, so that it can be sent with a report."""

from datetime import timedelta

from aiohttp import web
from homeassistant.components.http import KEY_HASS, HomeAssistantView
from homeassistant.components.http.auth import async_sign_path
from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN

_URL = f"/api/{DOMAIN}/capture"
# A link is meant to be followed while the dialog that shows it is being read.
_VALID = timedelta(minutes=15)

# Texts by the id of the flow that heard them.
_CAPTURES: HassKey[dict[str, str]] = HassKey(f"{DOMAIN}_captures")


class CaptureView(HomeAssistantView):
    """Hands out one capture."""

    url = f"{_URL}/{{flow_id}}"
    name = f"api:{DOMAIN}:capture"

    async def get(self, request: web.Request, flow_id: str) -> web.Response:
        """The text, for whoever is logged in or has a signed link; 404 once its dialog is closed."""
        text = request.app[KEY_HASS].data.get(_CAPTURES, {}).get(flow_id)
        if text is None:
            return web.Response(status=404)
        return web.Response(
            text=text,
            headers={
                "Content-Disposition": f'attachment; filename="{DOMAIN}_capture.txt"',
                "Cache-Control": "no-store",
            },
        )


@callback
def async_offer(hass: HomeAssistant, flow_id: str, text: str) -> str:
    """A link to this text that works for some minutes without a login; it replaces what the flow offered before."""
    if _CAPTURES not in hass.data:
        hass.data[_CAPTURES] = {}
        hass.http.register_view(CaptureView)
    hass.data[_CAPTURES][flow_id] = text
    return async_sign_path(hass, f"{_URL}/{flow_id}", _VALID)


@callback
def async_withdraw(hass: HomeAssistant, flow_id: str) -> None:
    """The dialog is closed."""
    hass.data.get(_CAPTURES, {}).pop(flow_id, None)
