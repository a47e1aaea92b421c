-- migrate:up
-- Time zones are names of places, and states that contradict themselves are refused.
set local role neurant_owner;

create or replace function private.is_timezone(p_name text) returns boolean
language plpgsql immutable set search_path = '' as $$
begin
  -- 'foo5' and '<x>-167' are time zones to PostgreSQL; a clock that people live by has a name.
  if p_name !~ '^(UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]+){1,2})$' then
    return false;
  end if;
  perform pg_catalog.timezone(p_name, timestamptz '2000-01-01 00:00:00+00');
  return true;
exception when invalid_parameter_value then
  return false;
end $$;

alter table public.companies
  add constraint companies_reset_date_check check (isfinite(monthly_reset_date)) not valid,
  add constraint companies_subscription_order_check
    check (subscription_ends_at >= subscription_started_at) not valid;
alter table public.chatbots
  add constraint chatbots_retired_check check (retired_at is null or not is_active) not valid,
  add constraint chatbots_working_hours_check check (jsonb_typeof(working_hours) = 'object') not valid,
  add constraint chatbots_personality_check
    check (jsonb_typeof(personality_traits) = 'object') not valid,
  add constraint chatbots_keywords_check
    check (array_position(hitl_trigger_keywords, '') is null) not valid;
alter table public.conversations
  add constraint conversations_end_check check (ended_at >= started_at) not valid,
  add constraint conversations_counts_check check (
    message_count >= 0 and bot_message_count >= 0 and human_message_count >= 0) not valid;
alter table public.conversations_archived
  add constraint conversations_end_check check (ended_at >= started_at) not valid,
  add constraint conversations_counts_check check (
    message_count >= 0 and bot_message_count >= 0 and human_message_count >= 0) not valid;
alter table public.messages
  add constraint messages_seq_check check (seq > 0) not valid,
  add constraint messages_sources_check check (jsonb_typeof(knowledge_sources) = 'array') not valid;
alter table public.messages_archived
  add constraint messages_seq_check check (seq > 0) not valid,
  add constraint messages_sources_check check (jsonb_typeof(knowledge_sources) = 'array') not valid;

reset role;
-- migrate:down
