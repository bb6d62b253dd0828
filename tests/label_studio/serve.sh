#!/usr/bin/env bash
# Label Studio for the tests: `serve.sh install ENVIRONMENT`, then `serve.sh start ENVIRONMENT FOLDER PORT`.
#
# FOLDER gets the database and the server's files. With DOCUMENT_ROOT set the server shows files below it, else none.
# It listens on loopback and sends nothing out.
set -euo pipefail

export ANN_TOKEN=0123456789abcdef0123456789abcdef01234567

usage() {
    printf 'usage: serve.sh install ENVIRONMENT | start ENVIRONMENT FOLDER PORT\n' >&2
    exit 2
}

[[ $# -ge 2 ]] || usage
environment=$2
case $1 in
install)
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet 'label-studio>=1.23'
    "$environment/bin/label-studio" --version
    ;;
start)
    [[ $# -eq 4 ]] || usage
    mkdir -p "$3"
    export LABEL_STUDIO_BASE_DATA_DIR=$3 COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false SENTRY_DSN='' \
        FRONTEND_SENTRY_DSN='' LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN=true
    unset LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT
    if [[ -n ${DOCUMENT_ROOT:-} ]]; then
        export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=$DOCUMENT_ROOT
    fi
    cd "$3"
    exec "$environment/bin/label-studio" start --no-browser --internal-host 127.0.0.1 --port "$4" \
        --username ann@example.com --password a-long-password --user-token "$ANN_TOKEN"
    ;;
*) usage ;;
esac
