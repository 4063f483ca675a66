"""Whether PGXN would accept a distribution: META.json satisfies https://pgxn.org/meta/spec.txt (1.0.0), and the
files that it names exist."""

import json
import re
import sys
import zipfile

SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?")
TERM = re.compile(r"[^\s/\\\x00-\x1f]{2,}")
REQUIRED = {"name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"}
OPTIONAL = {"description", "generated_by", "tags", "no_index", "prereqs", "release_status", "resources"}
LICENSES = {
    "agpl_3", "apache_1_1", "apache_2_0", "artistic_1", "artistic_2", "bsd", "freebsd", "gfdl_1_2", "gfdl_1_3", "gpl_1",
    "gpl_2", "gpl_3", "lgpl_2_1", "lgpl_3_0", "mit", "mozilla_1_0", "mozilla_1_1", "openssl", "perl_5", "postgresql",
    "qpl_1_0", "ssleay", "sun", "zlib", "open_source", "restricted", "unrestricted", "unknown",
}  # fmt: skip
PHASES = {"configure", "build", "test", "runtime", "develop"}
RELATIONSHIPS = {"requires", "recommends", "suggests", "conflicts"}


def problems(meta, names, prefix):
    """The errors, in words."""
    yield from (f"{key} is missing" for key in REQUIRED - meta.keys())
    yield from (f"{key} is unknown" for key in meta.keys() - REQUIRED - OPTIONAL if not key.startswith("x_"))
    if not TERM.fullmatch(meta.get("name", "")):
        yield "name is no term"
    if not SEMVER.fullmatch(meta.get("version", "")):
        yield "version is no semantic version"
    if meta.get("license") not in LICENSES:
        yield "license is not one of the specification's"
    if meta.get("release_status", "stable") not in {"stable", "testing", "unstable"}:
        yield "release_status is unknown"
    if meta.get("meta-spec", {}).get("version") != "1.0.0":
        yield "meta-spec is another version"
    for key in ("abstract", "maintainer"):
        if not meta.get(key):
            yield f"{key} is empty"
    for tag in meta.get("tags", []):
        if not isinstance(tag, str) or not 1 <= len(tag) <= 255 or re.search(r"[\x00-\x1f/\\]", tag):
            yield f"tag {tag!r} is none"
    if not meta.get("provides"):
        yield "provides nothing"
    for name, extension in meta.get("provides", {}).items():
        for key in ("file", "version"):
            if key not in extension:
                yield f"{name} has no {key}"
        if extension.get("version") != meta.get("version"):
            yield f"{name} is of another version"
        for key in ("file", "docfile"):
            if key in extension and prefix + extension[key] not in names:
                yield f"{extension[key]} is not in the distribution"
    for phase, relations in meta.get("prereqs", {}).items():
        if phase not in PHASES and not phase.startswith("x_"):
            yield f"prereqs: phase {phase} is unknown"
        for relation, needed in relations.items():
            if relation not in RELATIONSHIPS:
                yield f"prereqs: {relation} is unknown"
            for name, version in needed.items():
                if version != 0 and not SEMVER.fullmatch(str(version)):
                    yield f"prereqs: {name} {version} is no version"


def main(path):
    with zipfile.ZipFile(path) as distribution:
        names = set(distribution.namelist())
        prefix = path.rsplit("/", 1)[-1].removesuffix(".zip") + "/"
        meta = json.loads(distribution.read(prefix + "META.json"))
        wrong = list(problems(meta, names, prefix))
        if f"{meta.get('name')}-{meta.get('version')}/" != prefix:
            wrong.append("the distribution is not named by name and version")
        # A check that accepts everything is useless.
        for key in REQUIRED:
            without = {name: value for name, value in meta.items() if name != key}
            if not list(problems(without, names, prefix)):
                wrong.append(f"nothing is said where {key} is missing")
    for problem in wrong:
        print(f"META.json: {problem}")
    sys.exit(bool(wrong))


main(sys.argv[1])
