import pytest

from workflows.common.settings import REPO_PATH


@pytest.mark.parametrize(("value", "is_valid"), [(None, False), ("", False), ("http://127.0.0.1:1/hook", True)])
def test_failures_are_reported_where_a_webhook_is_set(value, is_valid, monkeypatch):
    from mage_ai.data_preparation.repo_manager import RepoConfig
    from mage_ai.orchestration.notification.config import AlertOn, NotificationConfig

    monkeypatch.delenv("MAGE_SLACK_WEBHOOK_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("MAGE_SLACK_WEBHOOK_URL", value)
    config = NotificationConfig.load(config=RepoConfig(repo_path=str(REPO_PATH)).notification_config)
    assert AlertOn.PIPELINE_RUN_FAILURE in config.alert_on
    assert config.slack_config.is_valid is is_valid
