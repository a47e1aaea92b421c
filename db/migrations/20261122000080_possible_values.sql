-- migrate:up
-- Figures of a bot that cannot be: a score beyond five, a channel that there is none of.
set local role neurant_owner;

alter table public.chatbots
  add constraint chatbots_satisfaction_score_check check (satisfaction_score between 0 and 5),
  add constraint chatbots_channels_check check (
    jsonb_typeof(channels) = 'array' and channels <@ '["whatsapp", "telegram", "slack", "web"]');

reset role;
-- migrate:down
