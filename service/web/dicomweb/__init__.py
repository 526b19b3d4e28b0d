"""DICOMweb (PS3.18): store instances, search what Lobar holds, and retrieve it."""
