#!/usr/bin/env bash
# Runs the backend against a real HDFS: one NameNode, one DataNode, on the loopback interface, with their files in a temporary directory.
# Needs a JRE and pip: the servers (Hadoop 2.7.3) come in the jars of the Python package pyspark 2.4.8, some 220 MB, kept in ~/.cache/cofferdam-hdfs.
#
# remote_tests/hdfs.sh [options of cargo test]
set -euo pipefail
cd "$(dirname "$0")/.."
cache="${XDG_CACHE_HOME:-$HOME/.cache}/cofferdam-hdfs"
if [ ! -e "$cache/pyspark-2.4.8/deps/jars" ]; then
    mkdir -p "$cache"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet wheel setuptools
    "$cache/venv/bin/pip" download --quiet --no-deps --no-build-isolation --dest "$cache" pyspark==2.4.8
    tar -xzf "$cache/pyspark-2.4.8.tar.gz" -C "$cache"
    rm "$cache/pyspark-2.4.8.tar.gz"
fi

home="$(mktemp -d)"
pids=()
stop() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$home"
}
trap stop EXIT
mkdir -p "$home/conf" "$home/www/webapps/hdfs" "$home/www/webapps/datanode" "$home/www/webapps/static"

property() { echo "<property><name>$1</name><value>$2</value></property>"; }
port="${COFFERDAM_HDFS_PORT:-18020}"
{
    echo "<configuration>"
    property fs.defaultFS "hdfs://127.0.0.1:$port"
    property dfs.namenode.name.dir "file://$home/name"
    property dfs.datanode.data.dir "file://$home/data"
    property dfs.replication 1
    property dfs.permissions.enabled false
    property dfs.webhdfs.enabled false
    property dfs.namenode.safemode.extension 0
    property dfs.namenode.http-address "127.0.0.1:$((port + 1))"
    property dfs.datanode.address "127.0.0.1:$((port + 2))"
    property dfs.datanode.http.address "127.0.0.1:$((port + 3))"
    property dfs.datanode.ipc.address "127.0.0.1:$((port + 4))"
    property dfs.datanode.hostname 127.0.0.1
    echo "</configuration>"
} >"$home/conf/core-site.xml"
cp "$home/conf/core-site.xml" "$home/conf/hdfs-site.xml"
cat >"$home/conf/log4j.properties" <<'PROPERTIES'
log4j.rootLogger=WARN,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.SimpleLayout
PROPERTIES

server=org.apache.hadoop.hdfs.server
java=(java -Xmx256m)
# What Hadoop 2 reaches for by reflection, and a newer Java closes.
for package in java.lang java.net java.nio java.security java.util sun.nio.ch; do
    java+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
java+=(-cp "$home/conf:$home/www:$cache/pyspark-2.4.8/deps/jars/*")
export HADOOP_HOME="$home"

"${java[@]}" "$server.namenode.NameNode" -format -force -nonInteractive >"$home/format.log" 2>&1 || { cat "$home/format.log"; exit 1; }
"${java[@]}" "$server.namenode.NameNode" >"$home/namenode.log" 2>&1 &
pids+=($!)
"${java[@]}" "$server.datanode.DataNode" >"$home/datanode.log" 2>&1 &
pids+=($!)

# A DataNode that the NameNode knows can be read off its directory: it is given the block pool's.
for _ in $(seq 120); do
    if compgen -G "$home/data/current/BP-*" >/dev/null; then
        export COFFERDAM_TEST_HDFS="hdfs://127.0.0.1:$port"
        cargo test --locked -p cofferdam-remote-tests --features hdfs --test hdfs "$@"
        exit
    fi
    sleep 0.5
done
cat "$home/namenode.log" "$home/datanode.log"
echo "HDFS did not start" >&2
exit 1
