-- migrate:up
-- The states that were there before are possible, too (a lock that stops nobody).
alter table public.companies validate constraint companies_reset_date_check;
alter table public.companies validate constraint companies_subscription_order_check;
alter table public.chatbots validate constraint chatbots_retired_check;
alter table public.chatbots validate constraint chatbots_working_hours_check;
alter table public.chatbots validate constraint chatbots_personality_check;
alter table public.chatbots validate constraint chatbots_keywords_check;
alter table public.conversations validate constraint conversations_end_check;
alter table public.conversations validate constraint conversations_counts_check;
alter table public.conversations_archived validate constraint conversations_end_check;
alter table public.conversations_archived validate constraint conversations_counts_check;
alter table public.messages validate constraint messages_seq_check;
alter table public.messages validate constraint messages_sources_check;
alter table public.messages_archived validate constraint messages_seq_check;
alter table public.messages_archived validate constraint messages_sources_check;
-- migrate:down
