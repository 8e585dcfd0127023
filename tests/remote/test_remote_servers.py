"""The servers and the fault proxy that the other tests stand on."""

from __future__ import annotations

import http.client

import pytest
import requests
from botocore.exceptions import ClientError

from .proxy import Answer, CorruptByte, CutBody, DropAnswer, FaultProxy, IgnoreRange, Refuse, any_request, is_method
from .servers import S3Server


def test_each_server_keeps_an_object(server: S3Server, bucket: str):
    client = server.client()

    client.put_object(Bucket=bucket, Key="a folder/ü.bin", Body=b"bytes")

    assert client.get_object(Bucket=bucket, Key="a folder/ü.bin")["Body"].read() == b"bytes"


def test_put_if_absent_is_obeyed_where_the_server_is_said_to_obey_it(server: S3Server, bucket: str):
    client = server.client()
    client.put_object(Bucket=bucket, Key="taken", Body=b"first")

    try:
        client.put_object(Bucket=bucket, Key="taken", Body=b"second", IfNoneMatch="*")
        obeyed = False
    except ClientError as error:
        obeyed = error.response["Error"]["Code"] == "PreconditionFailed"

    assert obeyed == server.conditional_put


@pytest.fixture
def url(proxy: FaultProxy, moto: S3Server, moto_bucket: str) -> str:
    moto.client().put_object(Bucket=moto_bucket, Key="key", Body=bytes(range(100)))
    return (
        moto.client()
        .generate_presigned_url("get_object", {"Bucket": moto_bucket, "Key": "key"})
        .replace(moto.endpoint, proxy.endpoint)
    )


def test_the_proxy_passes_requests_and_counts_them(proxy: FaultProxy, url: str):
    answer = requests.get(url, timeout=10)

    assert answer.content == bytes(range(100))
    assert proxy.counts() == {"GET": 1}
    assert proxy.bytes_down == 100


def test_a_fault_hits_only_its_turn(proxy: FaultProxy, url: str):
    proxy.fault(Answer(503, "SlowDown"), when=any_request, skip=1, times=2)

    statuses = [requests.get(url, timeout=10).status_code for _ in range(4)]

    assert statuses == [200, 503, 503, 200]


def test_bodies_are_cut_and_spoiled(proxy: FaultProxy, url: str):
    proxy.fault(CutBody(after=10), when=any_request)
    proxy.fault(CorruptByte(at=3), when=any_request)

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        requests.get(url, timeout=10)
    spoiled = requests.get(url, timeout=10).content

    assert [place for place in range(100) if spoiled[place] != place] == [3]


def test_ranges_are_ignored_on_demand(proxy: FaultProxy, url: str):
    proxy.fault(IgnoreRange(), when=any_request)

    whole = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=10)
    part = requests.get(url, headers={"Range": "bytes=10-19"}, timeout=10)

    assert (whole.status_code, len(whole.content)) == (200, 100)
    assert (part.status_code, len(part.content)) == (206, 10)


def test_a_refused_request_never_reaches_the_server_and_a_dropped_answer_does(
    proxy: FaultProxy, moto: S3Server, moto_bucket: str
):
    proxy.fault(Refuse(), when=is_method("PUT"))
    proxy.fault(DropAnswer(), when=is_method("PUT"))

    kept: list[list[str]] = []
    for key in ("refused", "dropped"):
        url = moto.client().generate_presigned_url("put_object", {"Bucket": moto_bucket, "Key": key})
        with pytest.raises((requests.exceptions.ConnectionError, http.client.HTTPException)):
            requests.put(url.replace(moto.endpoint, proxy.endpoint), data=b"x", timeout=10)
        listed = moto.client().list_objects_v2(Bucket=moto_bucket).get("Contents", [])
        kept.append([item["Key"] for item in listed])

    assert kept == [[], ["dropped"]]
