#!/usr/bin/env bash
# Runs the playbook user_data for several systems, and checks what it wrote; the machines do not exist.
set -eux
output=$(mktemp -d)
trap 'rm -rf "$output"' EXIT

write() { # write INVENTORY DIRECTORY [OPTION...]
    local inventory=$1 directory=$2
    shift 2
    ansible-playbook -i "$inventory" flagship.coreos.user_data -e "user_data_directory=$output/$directory" \
        -e "certificates_directory=$output/certificates" "$@"
}

refused() { # refused SENTENCE INVENTORY [OPTION...]
    local sentence=$1
    shift
    if write "$1" refused "${@:2}" >"$output/log" 2>&1; then exit 1; fi
    # Lines are folded where they are shown.
    tr -s '\n ' ' ' <"$output/log" | grep -F "$sentence"
    if grep -F Traceback "$output/log"; then exit 1; fi
}

# However much Ansible is asked to say, no key is in it.
write inventory.yml flatcar -vvvv --diff >"$output/log"
for key in "$output"/certificates/*.key "$output"/certificates/*/*.key; do sed -n 2p "$key"; done >"$output/keys"
test "$(wc -l <"$output/keys")" -gt 20
if grep -q -F -f "$output/keys" "$output/log"; then exit 1; fi
write inventory.yml flatcar | tee "$output/log"
if grep -E 'changed=[1-9]' "$output/log"; then exit 1; fi
write inventory.yml fedora -e user_data_target=fedora-coreos -e site_stack=haproxy
write inventory.yml linux -e user_data_target=linux -e user_data_update_strategy=
write inventory.yml programs -e user_data_target=linux -e user_data_programs_url=https://files.example.com/flagship -e user_data_update_strategy= \
    -e user_data_python=/opt/flagship/python/bin/python3
write cloud.yml learnt -e etcd_tls=false -e user_data_format=ignition
write cloud.yml cloud -e etcd_tls=false
for file in "$output"/{flatcar,fedora,linux,programs,learnt}/*.ign; do
    test -z "$(ignition-validate "$file" 2>&1)"
done

refused 'etcd 3.7 has no discovery by URL any more' cloud.yml -e etcd_tls=false -e '{"user_data_etcd_version": "3.7"}'
refused 'The address of core01 is not known before it boots' cloud.yml -e user_data_etcd_discovery_url=
refused 'and the certificate of its etcd needs it' cloud.yml
refused 'A cloud-config fetches nothing' cloud.yml -e user_data_programs_url=https://files.example.com/flagship
refused 'no [Install] section' inventory.yml -e '{"user_data_units": [{"name": "a.service", "enabled": true, "content": "[Service]\nExecStart=/bin/true\n"}]}'

ansible-playbook -i localhost, check.yml -e "output=$output"
