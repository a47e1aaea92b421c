-- migrate:up
-- Conversations, messages, human takeover, and the two hot queues of the main job.
set local role neurant_owner;

create type public.conversation_status_enum as enum ('active', 'resolved', 'abandoned', 'archived');
create type public.message_type_enum as enum
  ('text', 'image', 'audio', 'video', 'document', 'location', 'contact');
create type public.sender_type_enum as enum ('bot', 'human', 'end_user', 'system');
-- 'unknown': it may have arrived; 'cancelled': written before an operator took over, and not sent.
create type public.message_status_enum as enum
  ('pending', 'sent', 'delivered', 'read', 'failed', 'unknown', 'cancelled');

create table public.conversations (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  chatbot_id uuid not null,
  channel_account_id uuid not null,
  end_user_id varchar(255) not null,
  end_user_name varchar(255),
  end_user_avatar text,
  channel public.conversation_channel_enum not null,
  status public.conversation_status_enum not null default 'active',
  is_hitl_active boolean not null default false,
  assigned_operator_id uuid,
  hitl_activated_at timestamptz,
  hitl_reason text,
  message_count integer not null default 0,
  bot_message_count integer not null default 0,
  human_message_count integer not null default 0,
  avg_response_time_ms integer default 0,
  started_at timestamptz not null default now(),
  last_message_at timestamptz not null default now(),
  ended_at timestamptz,
  session_duration_minutes integer,
  satisfaction_rating integer check (satisfaction_rating between 1 and 5),
  satisfaction_comment text,
  context_data jsonb default '{}',
  conversation_summary text,
  last_seq bigint not null default 0,
  fence bigint not null default 0,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, id, chatbot_id),
  foreign key (company_id, chatbot_id) references public.chatbots (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  foreign key (company_id, assigned_operator_id) references public.users (company_id, id),
  check ((status = 'active') = (ended_at is null))
);
comment on column public.conversations.last_seq is
  'Sequence of the newest message. Order and resumption rest on it, never on a clock.';
comment on column public.conversations.fence is
  'Rises whenever a human steps in or out. What the bot read under an older number is not sent.';
-- A conversation may follow a resolved one, so it is unique only while it is open.
create unique index conversations_open_key
  on public.conversations (company_id, channel_account_id, end_user_id) where status = 'active';
-- An end user's conversations, newest first: what a visitor sees, and the inbox shows of a customer.
create index conversations_end_user_idx
  on public.conversations (company_id, channel_account_id, end_user_id, started_at desc);
create index conversations_inbox_idx
  on public.conversations (company_id, last_message_at desc, id desc);
create index conversations_hitl_idx
  on public.conversations (company_id, hitl_activated_at) where is_hitl_active;
create index conversations_chatbot_idx
  on public.conversations (company_id, chatbot_id, last_message_at desc);
create index conversations_operator_idx
  on public.conversations (company_id, assigned_operator_id) where assigned_operator_id is not null;

create table public.messages (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  channel_account_id uuid not null,
  seq bigint not null,
  content text not null check (char_length(content) <= 20000),
  message_type public.message_type_enum not null default 'text',
  media_url text,
  media_type varchar(50),
  sender_type public.sender_type_enum not null,
  sender_id uuid,
  n8n_message_id varchar(255),
  n8n_workflow_id varchar(255),
  external_message_id varchar(255),
  processing_time_ms integer check (processing_time_ms >= 0),
  tokens_used integer check (tokens_used >= 0),
  model_used varchar(100),
  status public.message_status_enum not null default 'sent',
  delivered_at timestamptz,
  read_at timestamptz,
  used_knowledge_base boolean default false,
  knowledge_sources jsonb default '[]',
  confidence_score decimal(3, 2) check (confidence_score between 0 and 1),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, conversation_id, seq),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, sender_id) references public.users (company_id, id),
  check (content <> '' or message_type <> 'text'),
  check (sender_type in ('human', 'system') or sender_id is null)
);
comment on column public.messages.chatbot_id is
  'The conversation''s, held equal by the foreign key, so that an operator''s policy needs no join.';
comment on column public.messages.content is
  'What was said. For sender system: a key of the message catalogue, told in the reader''s language.';
-- The channel's own id makes a redelivered webhook a duplicate.
create unique index messages_external_key
  on public.messages (company_id, channel_account_id, external_message_id)
  where external_message_id is not null;
create index messages_newest_idx on public.messages (company_id, created_at desc, id desc);
create index messages_sender_idx on public.messages (company_id, sender_id) where sender_id is not null;

create table public.hitl_sessions (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  chatbot_id uuid not null,
  status text not null default 'pending'
    check (status in ('pending', 'active', 'resolved', 'abandoned')),
  reason text not null check (reason in ('user_request', 'keywords', 'no_answer', 'manual')),
  reason_detail text,
  operator_id uuid,
  opened_at timestamptz not null default now(),
  taken_at timestamptz,
  first_response_at timestamptz,
  ended_at timestamptz,
  ended_by uuid,
  resolution_notes text,
  primary key (company_id, id),
  foreign key (company_id, conversation_id, chatbot_id)
    references public.conversations (company_id, id, chatbot_id),
  foreign key (company_id, operator_id) references public.users (company_id, id),
  foreign key (company_id, ended_by) references public.users (company_id, id),
  check ((status = 'pending') = (operator_id is null and ended_at is null)
    or status in ('resolved', 'abandoned')),
  check ((status in ('resolved', 'abandoned')) = (ended_at is not null))
);
create unique index hitl_sessions_open_key
  on public.hitl_sessions (company_id, conversation_id) where ended_at is null;
create index hitl_sessions_conversation_idx
  on public.hitl_sessions (company_id, conversation_id, opened_at desc);
create index hitl_sessions_operator_idx
  on public.hitl_sessions (company_id, operator_id) where operator_id is not null;
create index hitl_sessions_ended_by_idx
  on public.hitl_sessions (company_id, ended_by) where ended_by is not null;

create table public.inbound_events (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  channel_account_id uuid not null,
  external_id varchar(255) not null,
  payload bytea not null,
  reason text not null,
  received_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, channel_account_id, external_id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id)
);
comment on table public.inbound_events is
  'What a channel sent that did not become a message (an edit, a kind we do not take, a row the database refused), raw, with the reason: nothing that was acknowledged is lost.';

create table public.reply_requests (
  company_id uuid not null,
  conversation_id uuid not null,
  wanted_seq bigint not null,
  requested_at timestamptz not null default now(),
  due_at timestamptz not null,
  attempts integer not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text,
  primary key (company_id, conversation_id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id)
);
comment on table public.reply_requests is
  'A reply is owed. The key is the conversation, so a burst of messages asks for one reply.';
create index reply_requests_due_idx on public.reply_requests (company_id, due_at);

create table public.outbox (
  company_id uuid not null,
  id uuid not null default uuidv7(),
  conversation_id uuid not null,
  message_id uuid not null,
  channel_account_id uuid not null,
  seq bigint not null,
  fence bigint,
  status text not null default 'pending'
    check (status in ('pending', 'sending', 'sent', 'failed', 'unknown', 'cancelled')),
  due_at timestamptz not null default now(),
  attempts integer not null default 0,
  claim_token uuid,
  claimed_until timestamptz,
  last_error text,
  sent_at timestamptz,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, message_id),
  foreign key (company_id, conversation_id) references public.conversations (company_id, id),
  foreign key (company_id, message_id) references public.messages (company_id, id),
  foreign key (company_id, channel_account_id) references public.channel_accounts (company_id, id),
  check ((status = 'sending') = (claim_token is not null and claimed_until is not null))
);
comment on column public.outbox.fence is
  'The fence under which the bot wrote it; compared again at claim. Null: a person''s or the system''s, always sent.';
create index outbox_waiting_idx on public.outbox (company_id, due_at) where status in ('pending', 'sending');
create index outbox_order_idx on public.outbox (company_id, conversation_id, seq)
  where status in ('pending', 'sending');
create index outbox_conversation_idx on public.outbox (company_id, conversation_id);
create index outbox_account_idx on public.outbox (company_id, channel_account_id);

create trigger set_updated_at before update on public.conversations
  for each row execute function private.set_updated_at();
create trigger set_updated_at before update on public.messages
  for each row execute function private.set_updated_at();

reset role;
-- migrate:down
