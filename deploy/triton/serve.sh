#!/bin/sh
# Start Triton with explicit model control and the current versions of CIRCUMPLEX_MODELS, and the
# version of CIRCUMPLEX_DEFAULT_MODEL if that has one.
# A model that cannot be loaded does not keep the others from being served; gateways name it.
#   serve.sh [option of tritonserver ...]
set -eu
repository=${MODEL_REPOSITORY:-/models}

fail() {
    echo "serve.sh: $1" >&2
    exit 1
}

models=$(echo "${CIRCUMPLEX_MODELS:?names of the models}" | tr ',' ' ')
case ${CIRCUMPLEX_DEFAULT_MODEL:-} in
*@*) models="$models $CIRCUMPLEX_DEFAULT_MODEL" ;;
esac
for model in $models; do
    case $model in
    *@*) ;;
    *)
        # written one to a line, as `  "mini": 2,`
        version=$(sed -n "s/^ *\"$model\": *\([0-9][0-9]*\),*$/\1/p" "$repository/versions.json")
        [ -n "$version" ] || fail "no version of $model is current in $repository: run make export"
        model=$model@$version
        ;;
    esac
    [ -f "$repository/$model.json" ] || fail "$model is not exported in $repository"
    for part in "$repository/$model".*/; do
        set -- "$@" "--load-model=$(basename "$part")"
    done
done

# Strict readiness would be false while a model is being unloaded.
exec tritonserver "--model-repository=$repository" --model-control-mode=explicit \
    --strict-readiness=false --exit-on-error=false --disable-auto-complete-config "$@"
