"""An S3 server for s3_storage_test: moto on a free port of loopback, with a bucket called `bucket` and a user whose signatures it checks.

Prints one line, ENDPOINT ACCESS_KEY SECRET_KEY, and serves until it is killed. tests/install-moto.sh makes the environment that it needs.
"""
import json
import logging
import signal

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"

anybody = dict(endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
boto3.client("s3", **anybody).create_bucket(Bucket="bucket")
iam = boto3.client("iam", **anybody)
iam.create_user(UserName="trainer")
policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
iam.put_user_policy(UserName="trainer", PolicyName="all", PolicyDocument=json.dumps(policy))
key = iam.create_access_key(UserName="trainer")["AccessKey"]
settings.INITIAL_NO_AUTH_ACTION_COUNT = 0  # from the next request on, every one must be signed by that user

print(endpoint, key["AccessKeyId"], key["SecretAccessKey"], flush=True)
signal.pause()
