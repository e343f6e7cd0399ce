"""The measuring of an SAE in the admin: a page that takes the texts, and the progress on the SAE's page."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminFileFieldWidget

from inference.admin.progress import VARIANTS, RowAction
from inference.measuring.corpus import CorpusFile
from inference.measuring.models import Measurement
from steering.admin.actions import posted_action
from steering.errors import Refused
from steering.models import SAE

REMEDY = "Fix this and try again; the measuring resumes where it stopped."


class MeasureForm(forms.Form):
    file = forms.FileField(
        label="Texts",
        help_text='Plain text, one text per line, or JSON lines ({"text": …} or {"messages": […]}). May be gzipped.',
        widget=UnfoldAdminFileFieldWidget,
    )


class MeasuringPages(ModelAdmin):
    """Adds the page of texts to the admin of SAEs, and what a measuring in progress allows."""

    measuring_actions = ["cancel_measuring", "retry_measuring"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.measure_view)
        return [path("<slug:sae_id>/measure/", view, name="steering_sae_measure"), *super().get_urls()]

    def measure_view(self, request: HttpRequest, sae_id: str) -> HttpResponse:
        """The form with the file of texts; a POST begins the measuring."""
        if not request.user.has_perm("steering.change_sae"):
            raise PermissionDenied
        sae = SAE.objects.filter(pk=sae_id).first()
        if sae is None:
            raise Http404(f"There is no SAE {sae_id}.")
        page = reverse("admin:steering_sae_change", args=[quote(sae.pk)])
        form = MeasureForm(request.POST, request.FILES) if request.method == "POST" else MeasureForm()
        if form.is_valid() and (measurement := self._begun(sae, form)):
            message = f"Stored {measurement.lines:,} texts, to be read by {measurement.model_name}."
            self.log_change(request, sae, f"Measuring over {measurement.lines:,} texts begun.")
            self.message_user(request, message, messages.SUCCESS)
            return redirect(page if self.has_view_permission(request, sae) else reverse("admin:index"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Measure {sae}",
            "form": form,
            "list_url": page,
            "submit_text": "Measure",
        }
        return TemplateResponse(request, "admin/steering/import.html", context)

    def _begun(self, sae: SAE, form: MeasureForm) -> Measurement | None:
        """The measuring over the form's file. A fault becomes an error of the form."""
        upload = form.cleaned_data["file"]
        try:
            return Measurement.objects.start(sae, [CorpusFile(upload.file, upload.name)])
        except Refused as error:
            form.add_error("file", f"Nothing was stored: {error}")
            return None

    @posted_action("Cancel measuring", permissions=["change"], icon="close")
    def cancel_measuring(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._measuring(request, object_id, Measurement.cancel, "Cancelled the measuring of {}.")

    @posted_action("Try again", permissions=["change"], icon="refresh")
    def retry_measuring(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._measuring(request, object_id, Measurement.retry, "Resumed the measuring of {}.")

    def _measuring(self, request: HttpRequest, object_id: str, do: Any, success: str) -> HttpResponse:
        act: Any = self.act  # of ProgressAdmin
        response: HttpResponse = act(request, object_id, lambda sae: do(Measurement.objects.of(sae)), success)
        return response

    def measuring(self, request: HttpRequest, sae: SAE) -> str:
        """The measuring of the SAE as HTML: its state, its buttons, and a link to the page of texts."""
        row = Measurement.objects.filter(sae=sae).first()
        may_change = self.has_change_permission(request, sae)
        context = {
            "row": row,
            "tokens": sae.measured_tokens,
            "norm": sae.residual_norm,
            "state": _state(row) if row and row.status != row.Status.MEASURED else "",
            "buttons": [self._button(action, icon, sae) for action, icon in _actions(row)] if may_change else [],
            "url": reverse("admin:steering_sae_measure", args=[sae.pk]),
            "may_measure": may_change and sae.status == SAE.Status.READY and not (row and row.is_under_way),
        }
        return render_to_string("admin/steering/sae/measuring.html", context)

    def _button(self, action: RowAction, icon: str, sae: SAE) -> tuple[RowAction, str, str]:
        return action, icon, reverse(f"admin:steering_sae_{action.name}", args=[quote(sae.pk)])


def _actions(row: Measurement | None) -> list[tuple[RowAction, str]]:
    if row is None:
        return []
    cancel = (RowAction("cancel_measuring", "Cancel measuring"), "close")
    if row.status == row.Status.ERROR:
        return [(RowAction("retry_measuring", "Try again"), "refresh"), cancel]
    return [cancel] if row.is_under_way else []


def _state(row: Measurement) -> str:
    """Status, progress and error as HTML; static/millm/progress.js requests the panel of the SAE while it lasts."""
    context = {
        "row": row,
        "variant": VARIANTS.get(row.status, "info"),
        "percent": None if row.progress is None else min(100, int(row.progress * 100)),
        "activity": "Measuring",
        "remedy": REMEDY,
        "url": f"{reverse('admin:steering_sae_progress')}?part=panel",
    }
    return render_to_string("millm/progress_state.html", context)
