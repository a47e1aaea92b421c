-- migrate:up
-- What is audited, column by column: shown, as a personal digest, hidden, left out.
-- (company_id and id are the audit row's own company_id and resource_id.)
-- What people write may name anybody, so no free text is shown: audit could not be made to forget it.
set local role neurant_owner;

select private.audit_table('public.companies', 'id',
  '{timezone,subscription_plan,subscription_status,
    subscription_started_at,subscription_ends_at,monthly_message_limit,monthly_reset_date,
    monthly_anchor_day,max_chatbots,max_users,max_integrations,max_document_characters,
    max_storage_mb,max_hitl_concurrent,plan_changed_at,plan_change_scheduled_at,next_plan,created_by}',
  '{name,slug,industry,website,logo_url,email,phone}',
  '{}',
  '{monthly_message_count,current_user_count,current_chatbot_count,current_integration_count,
    current_document_characters,current_storage_bytes,current_hitl_count,created_at,updated_at}');

select private.audit_table('public.users', 'id',
  '{auth_user_id,role,is_owner,is_active,invited_by,invited_at,
    accepted_invitation_at,created_by}',
  '{email,first_name,last_name,avatar_url,phone,permissions}',
  '{}',
  '{last_login_at,last_seen_at,created_at,updated_at}');

select private.audit_table('public.user_invitations', 'id',
  '{role,invited_by,expires_at,status,accepted_at,accepted_by_user_id,sent_at,sent_count}',
  '{email,first_name,last_name}',
  '{token_digest}',
  '{reminder_sent_at,reminder_count,created_at,updated_at}');

select private.audit_table('public.login_sessions', 'user_id',
  '{user_id,expires_at}',
  '{ip_address,user_agent}',
  '{token_digest}',
  '{created_at,last_seen_at}');

select private.audit_table('public.api_keys', 'created_by',
  '{prefix,role,created_by,expires_at,revoked_at}',
  '{name}',
  '{key_digest}',
  '{last_used_at,created_at}');

select private.audit_table('public.company_keys', 'company_id',
  '{}', '{}', '{wrapped_key}', '{created_at}');

-- channels follows channel_accounts, which is audited; the counters are of every message.
select private.audit_table('public.chatbots', 'id',
  '{response_delay_ms,max_context_messages,is_active,timezone,hitl_enabled,
    auto_escalate_after_minutes,retired_at,created_by,template_id}',
  '{name,description,avatar_url,system_prompt,personality_traits,fallback_message,working_hours,
    hitl_triggers,hitl_trigger_keywords}',
  '{channel_configs}',
  '{channels,is_training,training_progress,total_conversations,total_messages,avg_response_time_ms,
    response_time_total_ms,response_time_count,satisfaction_score,created_at,updated_at}');

select private.audit_table('public.chatbot_operators', 'operator_id',
  '{chatbot_id,operator_id,assigned_by,is_active}', '{}', '{}', '{assigned_at}');

select private.audit_table('public.chatbot_supervisors', 'supervisor_id',
  '{chatbot_id,supervisor_id,assigned_by}', '{}', '{}', '{assigned_at}');

select private.audit_table('public.channel_accounts', 'id',
  '{chatbot_id,channel,status}',
  '{routing_id,display_name,status_detail}',
  '{secret_digest,secrets_encrypted}',
  '{created_at,updated_at}');

select private.audit_table('public.documents', 'uploaded_by',
  '{chatbot_id,file_type,file_size_bytes,retired_at,uploaded_by}',
  '{filename,original_filename,file_url,title,description,tags,category,language}',
  '{content_digest}',
  '{extracted_text,character_count,chunk_count,unread_pages,processing_status,processing_progress,
    processing_error,query_count,last_used_at,created_at,updated_at}');

select private.audit_table('public.canned_responses', 'owner_id',
  '{owner_id}', '{shortcut,content}', '{}', '{created_at,updated_at}');

select private.audit_table('public.integrations', 'id',
  '{integration_type,auth_type,expires_at,is_active,last_sync_at,sync_status,created_by}',
  '{name,description,settings}',
  '{config,oauth_token_encrypted,api_key_encrypted}',
  '{last_error,total_requests,successful_requests,failed_requests,created_at,updated_at}');

select private.audit_table('public.webhook_endpoints', 'id',
  '{is_active,created_by}',
  '{url,events}',
  '{secret_encrypted}',
  '{created_at,updated_at}');

-- What people wrote about a customer goes when the conversation is erased.
select private.audit_table('public.hitl_sessions', 'conversation_id',
  '{conversation_id,chatbot_id,status,reason,operator_id,opened_at,taken_at,ended_at,
    ended_by}',
  '{reason_detail,resolution_notes}',
  '{}',
  '{first_response_at}');

select private.audit_table('public.hitl_transfers', 'conversation_id',
  '{session_id,conversation_id,chatbot_id,from_user_id,to_user_id,kind,status,
    expires_at,decided_at}',
  '{reason}',
  '{}',
  '{created_at}');

reset role;
-- migrate:down
