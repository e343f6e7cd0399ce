"""All formats of whole files, by the field that names the format."""

from profiles.files.circuits import Circuit
from profiles.files.formats import Document
from profiles.files.millm import BundleDocument, ProfileDocument
from profiles.files.mistudio import Cluster, ClusterBundle

DOCUMENTS: dict[str, dict[str, type[Document]]] = {
    "type": {"millm_profile": ProfileDocument, "millm_profile_bundle": BundleDocument},
    "kind": {
        "mistudio.cluster-definition": Cluster,
        "mistudio.cluster-bundle": ClusterBundle,
        "mistudio.circuit-definition": Circuit,
    },
}
