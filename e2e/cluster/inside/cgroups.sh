#!/usr/bin/env bash
# The cgroups of a cluster. The one thing of it that is not in the sandbox. Sourced.
#
# A cluster has one of its folder's name in every hierarchy, with one for each node in it.

# Prints the hierarchies: one with version 2, several with version 1.
cgroup_hierarchies() {
  local folder
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo /sys/fs/cgroup
    return
  fi
  for folder in /sys/fs/cgroup/*/; do
    if [ -e "${folder}cgroup.procs" ] && [ ! -L "${folder%/}" ]; then
      echo "${folder%/}"
    fi
  done
}

# make_cgroup NAME: in every hierarchy, with all that is above it, such as `cluster/node-1`.
make_cgroup() {
  local hierarchy part path
  while read -r hierarchy; do
    path=$hierarchy
    for part in ${1//\// }; do
      pass_controllers "$path"
      mkdir -p "$path/$part"
      inherit_cpuset "$path" "$path/$part"
      path=$path/$part
    done
    pass_controllers "$path"
  done < <(cgroup_hierarchies)
}

# With version 2 a cgroup has the controllers that the one above it passes on.
pass_controllers() {
  local controller
  if [ -e "$1/cgroup.subtree_control" ]; then
    # One that cannot be passed on is no reason to do without the others.
    for controller in $(<"$1/cgroup.controllers"); do
      echo "+$controller" >"$1/cgroup.subtree_control" || true
    done 2>/dev/null
  fi
}

# With version 1 a new cpuset is empty, and takes no process.
inherit_cpuset() {
  local file
  for file in cpuset.cpus cpuset.mems; do
    if [ -e "$1/$file" ] && [ ! -e "$1/cgroup.subtree_control" ]; then
      cat "$1/$file" >"$2/$file"
    fi
  done
}

# remove_cgroups NAME: with all that is in it. No process may be left there.
remove_cgroups() {
  local hierarchy
  while read -r hierarchy; do
    if [ -d "$hierarchy/$1" ]; then
      find "$hierarchy/$1" -depth -type d -exec rmdir {} + || return
    fi
  done < <(cgroup_hierarchies)
}
