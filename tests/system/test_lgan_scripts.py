"""The program of L-GAN's amplification, as a newcomer types it."""


def test_the_script_says_what_is_wrong_and_what_to_do(scripts, tmp_path):
    done = scripts.run("lgan_amplify.py", "--dataset=cifar10", cwd=tmp_path)
    assert done.returncode == 1
    assert "--dataset=cifar10 must be one of digits, mnist or auto" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())
